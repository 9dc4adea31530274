//! The files of the project, read once: everything but what builds leave behind and what git keeps.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file.
pub(crate) struct File {
    /// From the top of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file, in order of path.
pub(crate) struct Tree {
    root: PathBuf,
    pub(crate) files: Vec<File>,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies one below the top").to_owned();
        let mut files = Vec::new();
        visit(&root, &root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(files.len() > 20, "the project's files are below {}", root.display());
        Self { root, files }
    }

    /// The text of one file; empty when there is none, so that the check that wants it complains.
    pub(crate) fn text(&self, path: &str) -> String {
        self.files.iter().find(|file| file.path == path).map_or_else(String::new, |file| file.text.clone())
    }

    /// Whether a path from the top exists, as a file or a folder.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

fn visit(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if matches!(name.as_str(), "target" | ".git") || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            visit(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
}
