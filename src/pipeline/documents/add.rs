//! Files into passages: what is new or has changed is read, the rest is not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::documents::passage::{self, Cut};
use crate::documents::read::{self, Reading};
use crate::documents::{Fault, fault::FaultKind, page_list, source, walk};
use crate::store::Store;
use crate::store::documents::document::{NewDocument, PassageChanges, StoredDocument};
use crate::store::documents::passage::NewPassage;
use crate::text::hex;

/// What to add, and how.
pub struct Adding<'a> {
    /// Files and folders.
    pub paths: &'a [PathBuf],
    /// How files are read.
    pub reading: Reading,
    /// How they are cut.
    pub cut: Cut,
}

/// A file with what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Remark {
    /// The file.
    pub path: String,
    /// The kind of fault; `None` for a file that was read.
    pub fault: Option<FaultKind>,
    /// A sentence.
    pub text: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Added {
    /// Files that were found.
    pub files: u64,
    /// Documents that are new.
    pub new: u64,
    /// Documents that say something else than before.
    pub changed: u64,
    /// Documents that were not read again, or say what they said.
    pub unchanged: u64,
    /// Files that are not where they were.
    pub removed: Vec<String>,
    /// What became of passages.
    pub passages: PassageChanges,
    /// Passages of new and changed documents by language, where it can be told.
    pub languages: BTreeMap<&'static str, u64>,
    /// Hidden files and folders that were passed over.
    pub hidden: u64,
    /// Files that `.gitignore` names.
    pub ignored: u64,
    /// Files of folders that are no documents, such as pictures and programs.
    pub no_documents: u64,
    /// Files that cannot be read.
    pub faults: Vec<Remark>,
    /// What was found in files that were read, such as pages without a text layer.
    pub notes: Vec<Remark>,
}

/// Adds files and folders. Each document is stored by itself: what stops halfway goes on.
///
/// `show` is called with the number of files done, of all, and the next.
///
/// # Errors
///
/// Those of the store. What is wrong with a file is in the result.
pub async fn add(store: &Store, adding: &Adding<'_>, show: &mut dyn FnMut(u64, u64, &Path)) -> Result<Added> {
    let found = walk::find(adding.paths);
    let known: HashMap<String, StoredDocument> = store
        .documents()
        .await?
        .into_iter()
        .map(|document| (document.path.clone(), document))
        .collect();
    let settings = serde_json::json!({"passage_tokens": adding.cut.tokens, "overlap": adding.cut.overlap,
        "columns": adding.reading.columns})
    .to_string();
    let mut added = Added {
        files: found.files.len() as u64,
        hidden: found.hidden,
        ignored: found.ignored,
        ..Added::default()
    };
    let named: HashSet<PathBuf> = adding
        .paths
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    for (at, path) in found.files.iter().enumerate() {
        show(at as u64, added.files, path);
        let Some(name) = path.to_str() else {
            let fault = Fault::new(FaultKind::Unreadable, "its name is not UTF-8");
            added.fault(path, &fault);
            continue;
        };
        match one(store, adding, name, known.get(name), &settings, &mut added).await? {
            Ok(()) => {}
            // In a folder there are all kinds of files.
            Err(fault) if fault.kind == FaultKind::Unknown && !named.contains(path) => {
                added.no_documents += 1
            }
            Err(fault) if fault.kind == FaultKind::Empty && !named.contains(path) => added.no_documents += 1,
            Err(fault) => added.fault(path, &fault),
        }
    }
    let gone = gone(known.values(), &found.folders, &found.faults);
    for (path, fault) in &found.faults {
        if !gone.iter().any(|document| is_same(path, &document.path)) {
            added.fault(path, fault);
        }
    }
    let ids: Vec<i64> = gone.iter().map(|document| document.id).collect();
    if !ids.is_empty() {
        let changes = store.remove_documents(&ids).await?;
        added.passages.retired += changes.retired;
        added.passages.dropped += changes.dropped;
    }
    added.removed = gone.into_iter().map(|document| document.path.clone()).collect();
    added.removed.sort();
    Ok(added)
}

/// Documents that were here and are not: in a folder that was searched, or named.
fn gone<'a>(
    known: impl Iterator<Item = &'a StoredDocument>,
    folders: &[PathBuf],
    missing: &[(PathBuf, Fault)],
) -> Vec<&'a StoredDocument> {
    known
        .filter(|document| document.removed_at.is_none())
        .filter(|document| {
            let path = Path::new(&document.path);
            let is_meant = folders.iter().any(|folder| path.starts_with(folder))
                || missing.iter().any(|(named, _)| is_same(named, &document.path));
            is_meant && path.symlink_metadata().is_err()
        })
        .collect()
}

/// Whether a path that does not exist means a document.
fn is_same(named: &Path, document: &str) -> bool {
    std::path::absolute(named)
        .is_ok_and(|path| path == Path::new(document) || Path::new(document).starts_with(&path))
}

/// Adds one file. The inner error is its own.
async fn one(
    store: &Store,
    adding: &Adding<'_>,
    name: &str,
    known: Option<&StoredDocument>,
    settings: &str,
    added: &mut Added,
) -> Result<Result<(), Fault>> {
    let path = Path::new(name);
    let facts = match path.metadata() {
        Ok(facts) => facts,
        Err(error) => return Ok(Err(Fault::new(FaultKind::Unreadable, error.to_string()))),
    };
    let size = facts.len() as i64;
    let changed_at = format!("{}.{:09}", facts.mtime(), facts.mtime_nsec());
    let was_known = known.is_some_and(|known| known.removed_at.is_none());
    let known = known.filter(|known| known.removed_at.is_none() && known.settings == settings);
    if let Some(known) = known
        && known.bytes == size
        && known.changed_at == changed_at
    {
        added.unchanged += 1;
        return Ok(Ok(()));
    }
    let bytes = match source::bytes(path, adding.reading.largest) {
        Ok(bytes) => bytes,
        Err(fault) => return Ok(Err(fault)),
    };
    let hash = hex(&Sha256::digest(&bytes));
    if let Some(known) = known
        && known.hash == hash
    {
        store.touch_document(known.id, size, &changed_at).await?;
        added.unchanged += 1;
        return Ok(Ok(()));
    }
    let (kind, mut document) = match read::read(path, &bytes, &adding.reading) {
        Ok(read) => read,
        Err(fault) => return Ok(Err(fault)),
    };
    drop(bytes);
    if !document.scanned.is_empty() {
        let pages = page_list(&document.scanned);
        document
            .notes
            .push(format!("no text layer on {pages}: `ocrmypdf IN OUT` adds one"));
    }
    let passages: Vec<NewPassage> = passage::cut(&document, &adding.cut)
        .into_iter()
        .map(|passage| NewPassage {
            heading: passage.heading,
            text: passage.text,
            tokens: passage.tokens,
            page: passage.page,
            language: passage.language,
            hash: passage.hash,
        })
        .collect();
    let notes = serde_json::to_string(&document.notes)?;
    let new = NewDocument {
        path: name,
        format: kind.as_str(),
        title: document.title.as_deref(),
        bytes: size,
        changed_at: &changed_at,
        hash: &hash,
        settings,
        notes: &notes,
        passages: &passages,
    };
    let changes = store.put_document(&new).await?;
    added.count(was_known, changes, &passages);
    added.notes.extend(document.notes.into_iter().map(|text| Remark {
        path: name.to_string(),
        fault: None,
        text,
    }));
    Ok(Ok(()))
}

impl Added {
    fn count(&mut self, was_known: bool, changes: PassageChanges, passages: &[NewPassage]) {
        match was_known {
            true => self.changed += 1,
            false => self.new += 1,
        }
        self.passages.kept += changes.kept;
        self.passages.added += changes.added;
        self.passages.retired += changes.retired;
        self.passages.dropped += changes.dropped;
        for language in passages.iter().filter_map(|passage| passage.language) {
            *self.languages.entry(language).or_default() += 1;
        }
    }

    fn fault(&mut self, path: &Path, fault: &Fault) {
        self.faults.push(Remark {
            path: path.to_string_lossy().into_owned(),
            fault: Some(fault.kind),
            text: fault.to_string(),
        });
    }
}
