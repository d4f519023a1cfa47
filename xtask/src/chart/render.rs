//! The chart rendered: with each set of values as it stands in git, and as a base for kustomize.

use anyhow::Context;

use super::{Bench, chart, compare, output};
use crate::workspace;

/// The Kubernetes that the charts are rendered for, and whose schemas they are held against.
pub(super) const KUBERNETES: &str = "1.34.4";

/// The names of the sets of values: `default` of `ci/default-values.yaml`.
pub(super) fn sets() -> anyhow::Result<Vec<String>> {
    let dir = chart("weir").join("ci");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix("-values.yaml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The chart with a set of values, as a cluster would get it that has the Gateway API.
pub(super) fn with_values(bench: &Bench, set: &str) -> anyhow::Result<String> {
    let mut helm = bench.tools.helm();
    helm.args(["template", "weir", "--namespace", "weir-system", "--kube-version", KUBERNETES]);
    helm.args(["--api-versions", "gateway.networking.k8s.io/v1"]).arg(chart("weir"));
    output(helm.arg("--values").arg(chart("weir").join(format!("ci/{set}-values.yaml"))))
}

pub(super) fn rendered(bench: &Bench) -> anyhow::Result<()> {
    for set in sets()? {
        let golden = chart("weir").join(format!("tests/rendered/{set}.yaml"));
        compare(bench, &golden, &clean(&with_values(bench, &set)?))?;
    }
    Ok(())
}

/// What `deploy/kustomize/base` holds: all but the namespace, which a chart cannot label.
pub(super) fn kustomize(bench: &Bench) -> anyhow::Result<()> {
    let mut helm = bench.tools.helm();
    helm.args(["template", "weir", "--namespace", "weir-system", "--kube-version", KUBERNETES]);
    // The class is an overlay: a cluster without the Gateway API would refuse all of it.
    let text = output(helm.args(["--set", "gatewayClass.create=false"]).arg(chart("weir")))?;
    let helms = ["helm.sh/chart:", "app.kubernetes.io/managed-by:", "app.kubernetes.io/instance:"];
    let kept = clean(&text);
    let lines = kept.lines().filter(|line| !helms.iter().any(|label| line.trim_start().starts_with(label)));
    let text = lines.fold(String::new(), |text, line| text + line + "\n");
    compare(bench, &workspace::root().join("deploy/kustomize/base/weir.yaml"), &text)
}

/// Without blanks at the ends of lines, and without empty documents.
fn clean(text: &str) -> String {
    let mut clean = String::new();
    for line in text.lines().map(str::trim_end) {
        clean.push_str(line);
        clean.push('\n');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn lines_end_without_blanks() {
        assert_eq!(clean("a: \n  b:\t\n"), "a:\n  b:\n");
    }
}
