//! What is sent where, for people to agree to before anything leaves the machine.

use std::fmt::Write;

use serde_json::{Value, json};

use super::file::PushFile;
use super::repo::{RepoId, RepoKind};
use crate::text::{counted, format_size};

/// Names that are listed of what stays here.
const SHOWN: usize = 8;

/// A push.
#[derive(Debug)]
pub struct PushPlan {
    /// The repository.
    pub id: RepoId,
    /// What it holds.
    pub kind: RepoKind,
    /// Whether everybody may read it.
    pub is_public: bool,
    /// What the commit says.
    pub message: String,
    /// The files, the card first.
    pub files: Vec<PushFile>,
    /// The card.
    pub card: String,
    /// Names beside the files that are not sent.
    pub stay: Vec<String>,
    /// What there is to say about it.
    pub remarks: Vec<String>,
}

impl PushPlan {
    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Describes it: where to, the files with their sizes, what stays here.
    pub fn describe(&self, endpoint: &str) -> String {
        let mut text = format!(
            "{endpoint}/{}{}, a {}\n",
            self.kind.prefix(),
            self.id,
            self.visible()
        );
        let width = self.files.iter().map(|file| file.path.chars().count()).max();
        let width = width.unwrap_or(0);
        for file in &self.files {
            let size = format_size(file.size);
            let remark = file.remark.map_or(String::new(), |remark| format!("  {remark}"));
            let _ = writeln!(text, "  {:width$}  {size:>9}{remark}", file.path);
        }
        let _ = writeln!(
            text,
            "  {}, {}",
            counted(self.files.len(), "file"),
            format_size(self.bytes())
        );
        if !self.stay.is_empty() {
            let shown: Vec<&str> = self.stay.iter().take(SHOWN).map(String::as_str).collect();
            let more = self.stay.len() - shown.len();
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let _ = writeln!(text, "not sent: {}{more}", shown.join(", "));
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "note: {remark}");
        }
        text
    }

    /// Returns it for programs.
    pub fn json(&self, endpoint: &str) -> Value {
        let file = |file: &PushFile| json!({ "path": file.path, "bytes": file.size });
        json!({
            "url": format!("{endpoint}/{}{}", self.kind.prefix(), self.id),
            "kind": self.kind.as_str(),
            "private": !self.is_public,
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "bytes": self.bytes(),
            "not_sent": self.stay,
            "notes": self.remarks,
            "card": self.card,
        })
    }

    /// `private model`, or what public means.
    fn visible(&self) -> String {
        match self.is_public {
            true => format!("PUBLIC {}: everybody can read it", self.kind.as_str()),
            false => format!("private {}", self.kind.as_str()),
        }
    }

    /// Says in one line what is about to happen.
    pub fn question(&self) -> String {
        let kind = self.kind.as_str();
        let whom = match self.is_public {
            true => "a public",
            false => "a private",
        };
        format!(
            "{} ({}) will be sent to {whom} {kind}, {}",
            counted(self.files.len(), "file"),
            format_size(self.bytes()),
            self.id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_is_sent_where_and_who_reads_it() {
        let mut plan = PushPlan {
            id: RepoId::parse("ann/sheep").unwrap(),
            kind: RepoKind::Dataset,
            is_public: false,
            message: "m".into(),
            files: vec![
                PushFile::made("README.md", "x".repeat(2100), "the card"),
                PushFile::made("data/train.parquet", "x".repeat(1_500_000), ""),
            ],
            card: String::new(),
            stay: (0..10).map(|at| format!("f{at}")).collect(),
            remarks: vec!["no licence".into()],
        };
        plan.files[1].remark = None;
        assert_eq!(
            plan.describe("https://hub"),
            "https://hub/datasets/ann/sheep, a private dataset\n  \
             README.md              2.1 kB  the card\n  \
             data/train.parquet     1.5 MB\n  \
             2 files, 1.5 MB\n\
             not sent: f0, f1, f2, f3, f4, f5, f6, f7 and 2 more\n\
             note: no licence\n"
        );
        let json = plan.json("https://hub");
        assert_eq!(json["url"], "https://hub/datasets/ann/sheep");
        assert_eq!(json["files"][0], json!({ "path": "README.md", "bytes": 2100 }));
        assert_eq!(
            (&json["private"], &json["bytes"]),
            (&json!(true), &json!(1_502_100))
        );
        plan.is_public = true;
        assert!(
            plan.describe("h")
                .starts_with("h/datasets/ann/sheep, a PUBLIC dataset: everybody")
        );
        assert_eq!(
            plan.question(),
            "2 files (1.5 MB) will be sent to a public dataset, ann/sheep"
        );
    }
}
