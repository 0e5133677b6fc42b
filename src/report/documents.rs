//! Documents: how many passages there are, what they gave, and which gave nothing.

use std::io::{self, Write};

use crate::store::documents::document::{DocumentCounts, StoredDocument};
use crate::store::documents::passage::SilentPassage;
use crate::store::{Result, Store};
use crate::text::{chosen, counted, one_line};

/// The most passages that are named as giving nothing.
const MOST_SILENT: i64 = 100;

/// How many documents and passages a terminal shows.
const SHOWN: usize = 20;

/// Figures of documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DocumentFigures {
    /// How many there are.
    pub counts: DocumentCounts,
    /// Each of them.
    pub files: Vec<StoredDocument>,
    /// Passages that rounds asked about and that gave no task: those asked about most.
    pub silent: Vec<SilentPassage>,
}

impl DocumentFigures {
    /// Counts.
    ///
    /// # Errors
    ///
    /// Those of reading the store.
    pub async fn load(store: &Store) -> Result<DocumentFigures> {
        let files = store.documents().await?;
        if files.is_empty() {
            return Ok(DocumentFigures::default());
        }
        Ok(DocumentFigures {
            files,
            counts: store.document_counts().await?,
            silent: store.silent_passages(MOST_SILENT).await?,
        })
    }

    /// Writes the figures as text; nothing without documents.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let counts = &self.counts;
        writeln!(
            out,
            "\ndocuments     {}, {}: {} asked about, {} gave {}",
            counted(counts.documents, "document"),
            counted(counts.passages, "passage"),
            counts.asked,
            counts.fruitful,
            counted(counts.tasks, "task")
        )?;
        if counts.removed > 0 {
            writeln!(
                out,
                "  {}",
                chosen(counts.removed, "document is gone", "documents are gone")
            )?;
        }
        writeln!(
            out,
            "  {:>8} {:>7} {:>8} {:>7}  document",
            "passages", "asked", "fruitful", "nothing"
        )?;
        let mut present: Vec<_> = self
            .files
            .iter()
            .filter(|file| file.removed_at.is_none())
            .collect();
        // Those asked about most come first.
        present.sort_by_key(|file| std::cmp::Reverse(file.asked));
        for file in present.iter().take(SHOWN) {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            writeln!(
                out,
                "  {:>8} {:>7} {:>8} {:>7}  {}",
                file.passages,
                file.asked,
                file.fruitful,
                file.asked - file.fruitful,
                one_line(name, 60)
            )?;
        }
        if let more @ 1.. = present.len().saturating_sub(SHOWN) {
            writeln!(out, "  and {} more", counted(more as i64, "document"))?;
        }
        if self.silent.is_empty() {
            return Ok(());
        }
        writeln!(out, "passages that gave nothing, those asked about most")?;
        for passage in self.silent.iter().take(SHOWN) {
            let name = passage.path.rsplit('/').next().unwrap_or(&passage.path);
            writeln!(
                out,
                "  {:>6}  {} {} · {}",
                passage.passage_id,
                one_line(name, 40),
                passage.ordinal,
                one_line(&passage.heading, 60)
            )?;
        }
        Ok(())
    }
}
