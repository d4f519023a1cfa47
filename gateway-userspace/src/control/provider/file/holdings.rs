//! Pure: which file holds which objects, each in its last good version.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::documents;
use super::parse::{Parsed, parse};
use crate::control::config::meta::Origin;
use crate::control::config::resources::{Object, ObjectId, ResourceSet};
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::control::provider::Desired;

/// Objects by file, and the set that they make. Of an object in two files, that of the first file by
/// path counts.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    files: BTreeMap<Arc<str>, FileHoldings>,
    holders: BTreeMap<ObjectId, BTreeSet<Arc<str>>>,
    /// Objects in more than one file.
    contested: BTreeSet<ObjectId>,
    set: ResourceSet,
}

#[derive(Debug, Default)]
struct FileHoldings {
    /// By fingerprint: a document that did not change is not parsed again.
    documents: HashMap<(u64, usize), Arc<Parsed>>,
    objects: BTreeMap<ObjectId, Held>,
    findings: Vec<Diagnostic>,
}

#[derive(Debug, Clone)]
struct Held {
    line: u32,
    object: Object,
}

impl Holdings {
    /// What is held, and everything found.
    pub(super) fn desired(&self, more: &[Diagnostic]) -> Desired {
        let mut findings = more.to_vec();
        findings.extend(self.files.values().flat_map(|f| f.findings.iter().cloned()));
        findings.extend(self.contested.iter().flat_map(|id| self.duplicates(id)));
        Desired { set: self.set.clone(), findings: findings.into(), complete: true }
    }

    /// Takes the new text of a file.
    pub(super) fn read(&mut self, file: &Arc<str>, text: &str) {
        let old = self.files.remove(file).unwrap_or_default();
        let new = FileHoldings::new(file, text, &old);
        self.replace(file, &old, new);
    }

    /// A file that cannot be read keeps its objects.
    pub(super) fn unreadable(&mut self, file: &Arc<str>, finding: Diagnostic) {
        self.files.entry(Arc::clone(file)).or_default().findings = vec![finding];
    }

    /// A file that is gone takes its objects with it.
    pub(super) fn gone(&mut self, file: &Arc<str>) {
        if let Some(old) = self.files.remove(file) {
            self.replace(file, &old, FileHoldings::default());
            self.files.remove(file);
        }
    }

    fn replace(&mut self, file: &Arc<str>, old: &FileHoldings, new: FileHoldings) {
        let mut touched = Vec::new();
        for id in old.objects.keys().filter(|id| !new.objects.contains_key(id)) {
            if let Some(holders) = self.holders.get_mut(id) {
                holders.remove(file);
            }
            touched.push(id.clone());
        }
        for (id, held) in &new.objects {
            match old.objects.get(id) {
                Some(before) if before.line == held.line && before.object.is_same(&held.object) => {}
                Some(_) => touched.push(id.clone()),
                None => {
                    self.holders.entry(id.clone()).or_default().insert(Arc::clone(file));
                    touched.push(id.clone());
                }
            }
        }
        self.files.insert(Arc::clone(file), new);
        touched.into_iter().for_each(|id| self.settle(id));
    }

    /// Puts the object of its first holder into the set.
    fn settle(&mut self, id: ObjectId) {
        let holders = self.holders.get(&id);
        let several = holders.is_some_and(|h| h.len() > 1);
        let first = holders.and_then(BTreeSet::first);
        let held = first.and_then(|file| Some((file, self.files.get(file)?.objects.get(&id)?)));
        match held {
            Some((file, held)) => {
                let origin = Origin::File { file: Arc::clone(file), line: held.line };
                self.set.insert(id.key.clone(), origin, held.object.clone());
            }
            None => {
                self.holders.remove(&id);
                self.set.remove(&id);
            }
        }
        if several {
            self.contested.insert(id);
        } else {
            self.contested.remove(&id);
        }
    }

    fn duplicates(&self, id: &ObjectId) -> Vec<Diagnostic> {
        let Some(holders) = self.holders.get(id) else { return Vec::new() };
        let line =
            |file: &Arc<str>| self.files.get(file).and_then(|f| f.objects.get(id)).map_or(0, |h| h.line);
        let Some(first) = holders.first() else { return Vec::new() };
        let winner = format!("{first}:{}", line(first));
        let others = holders.iter().skip(1);
        others.map(|file| duplicate(id, file, line(file), &winner)).collect()
    }
}

fn duplicate(id: &ObjectId, file: &str, line: u32, winner: &str) -> Diagnostic {
    let mut finding = Diagnostic::at(Severity::Error, Code::DuplicateObject, file, Some((line, 1)));
    finding.object = Some(id.to_string());
    finding
        .message(format!("{id} is written in {winner} already, which counts; this one has no effect"))
        .fix("remove one of them, or rename it")
}

impl FileHoldings {
    /// Parses what changed. Objects that cannot be told keep their last good version.
    fn new(file: &Arc<str>, text: &str, old: &Self) -> Self {
        let mut new = Self::default();
        let mut broken = BTreeSet::new();
        let mut unreadable = false;
        for document in documents::split(text) {
            let fingerprint = document.fingerprint();
            let known = old.documents.get(&fingerprint).or_else(|| new.documents.get(&fingerprint));
            let parsed = known.cloned().unwrap_or_else(|| Arc::new(parse(document.text)));
            unreadable |= parsed.unreadable;
            new.findings.extend(parsed.findings.iter().map(|f| at(f, file, document.lines_before)));
            for object in &parsed.objects {
                let line = object.line.saturating_add(document.lines_before);
                match &object.object {
                    None => {
                        broken.insert(object.id.clone());
                    }
                    Some(_) if new.objects.contains_key(&object.id) => {
                        let first = new.objects.get(&object.id).map_or(0, |h| h.line);
                        let winner = format!("{file}:{first}");
                        new.findings.push(duplicate(&object.id, file, line, &winner));
                    }
                    Some(good) => {
                        new.objects.insert(object.id.clone(), Held { line, object: good.clone() });
                    }
                }
            }
            new.documents.insert(fingerprint, parsed);
        }
        for (id, held) in &old.objects {
            if (unreadable || broken.contains(id)) && !new.objects.contains_key(id) {
                new.objects.insert(id.clone(), held.clone());
            }
        }
        new.say_what_serves();
        new
    }

    /// Whether anything serves for a broken object is what its owner wants to know first.
    fn say_what_serves(&mut self) {
        for finding in &mut self.findings {
            if !matches!(finding.code, Code::InvalidObject) || finding.severity != Severity::Error {
                continue;
            }
            let Some(object) = &finding.object else { continue };
            let kept = self.objects.keys().any(|id| id.to_string() == *object);
            let what = if kept { "its last good version keeps serving" } else { "it is not served" };
            finding.message = format!("{}; {what}", finding.message);
        }
    }
}

/// A finding of a document, where it is in its file.
fn at(finding: &Diagnostic, file: &str, lines_before: u32) -> Diagnostic {
    let mut finding = finding.clone();
    finding.file = Some(file.to_owned());
    finding.line = finding.line.map(|line| line.saturating_add(lines_before));
    finding
}
