//! Kubernetes YAML as tests write it.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

/// A Service with a cluster IP and one port.
#[derive(Debug, Clone)]
pub struct Service<'a> {
    /// Name, in namespace `demo`.
    pub name: &'a str,
    /// Cluster IP.
    pub address: &'a str,
    /// `appProtocol` of its port 80.
    pub protocol: &'a str,
    /// Annotations, as `key: value`.
    pub annotations: &'a [&'a str],
}

impl Service<'_> {
    /// As YAML, a document.
    pub fn yaml(&self) -> String {
        let Self { name, address, protocol, .. } = self;
        let mut annotations = String::new();
        if !self.annotations.is_empty() {
            annotations.push_str("  annotations:\n");
        }
        for annotation in self.annotations {
            let _ = writeln!(annotations, "    {annotation}");
        }
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: demo\n{annotations}spec:\n  \
             clusterIP: {address}\n  ports:\n    - name: http\n      port: 80\n      targetPort: 8080\n      \
             appProtocol: {protocol}\n"
        )
    }
}

/// An EndpointSlice of a Service with these endpoints; port 8080 unless one is given.
pub fn slice(service: &str, port: u16, addresses: &[IpAddr]) -> String {
    let family = if addresses.iter().any(IpAddr::is_ipv6) { "IPv6" } else { "IPv4" };
    let mut yaml = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-{port}\n  namespace: demo\n  \
         labels:\n    kubernetes.io/service-name: {service}\naddressType: {family}\nports:\n  - name: http\n    \
         port: {port}\nendpoints:\n"
    );
    for address in addresses {
        let _ = writeln!(yaml, "  - addresses: [\"{address}\"]");
    }
    if addresses.is_empty() {
        yaml.truncate(yaml.len() - "endpoints:\n".len());
        yaml.push_str("endpoints: []\n");
    }
    yaml
}

/// A pod to capture.
pub fn captured_pod(name: &str, netns: &Path) -> String {
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: CapturedPod\nmetadata:\n  name: {name}\n  namespace: demo\nspec:\n  \
         netns: {}\n",
        netns.display()
    )
}

/// Writes a file of a watched folder in one step: a reader sees the old one or the new one.
pub fn write(folder: &Path, file: &str, yaml: &str) -> std::io::Result<()> {
    let unfinished = folder.join(format!(".{file}.new"));
    std::fs::write(&unfinished, yaml)?;
    std::fs::rename(unfinished, folder.join(file))
}
