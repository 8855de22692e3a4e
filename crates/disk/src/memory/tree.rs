//! The tree of names: as programs see it, and as it was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::file::MemoryFile;
use super::state::State;

/// All directories; the first is the root.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) directories: Vec<Directory>,
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<OsString, Node>,
    pub(super) synced: BTreeMap<OsString, Node>,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Arc<MemoryFile>),
    Directory(usize),
}

impl Default for Tree {
    fn default() -> Self {
        Tree { directories: vec![Directory::default()] }
    }
}

pub(super) fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} doesn't exist", path.display()))
}

pub(super) fn names_of(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}

impl Tree {
    pub(super) fn directory(&self, path: &Path) -> io::Result<usize> {
        names_of(path).try_fold(0, |at, name| match self.directories[at].names.get(name) {
            Some(Node::Directory(next)) => Ok(*next),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_found(path)),
        })
    }

    /// Returns the directory that holds a name, and the name in it.
    pub(super) fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&mut Directory, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        Ok((&mut self.directories[parent], name))
    }

    pub(super) fn node(&mut self, path: &Path) -> io::Result<Option<Node>> {
        match self.place(path) {
            Ok((directory, name)) => Ok(directory.names.get(name).cloned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets the contents of directories that no name leads to, now or after a crash.
    pub(super) fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([0]);
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let Directory { names, synced } = &self.directories[at];
            for node in names.values().chain(synced.values()) {
                if let Node::Directory(next) = node
                    && reached.insert(*next)
                {
                    waiting.push(*next);
                }
            }
        }
        for (at, directory) in self.directories.iter_mut().enumerate() {
            if !reached.contains(&at) {
                *directory = Directory::default();
            }
        }
    }

    pub(super) fn after_kill(&self, state: &Arc<State>) -> Tree {
        let mut files: BTreeMap<*const MemoryFile, Arc<MemoryFile>> = BTreeMap::new();
        let mut copy = |names: &BTreeMap<OsString, Node>| {
            let copy = |(name, node): (&OsString, &Node)| {
                let node = match node {
                    Node::Directory(at) => Node::Directory(*at),
                    Node::File(file) => {
                        let copy = || Arc::new(file.after_kill(state));
                        Node::File(files.entry(Arc::as_ptr(file)).or_insert_with(copy).clone())
                    }
                };
                (name.clone(), node)
            };
            names.iter().map(copy).collect()
        };
        let copy = |d: &Directory| Directory { names: copy(&d.names), synced: copy(&d.synced) };
        Tree { directories: self.directories.iter().map(copy).collect() }
    }

    pub(super) fn after_crash(&self, survives: &mut impl FnMut() -> bool, state: &Arc<State>) -> Tree {
        let mut tree = Tree { directories: Vec::new() };
        tree.directories.resize_with(self.directories.len(), Directory::default);
        let mut files: BTreeMap<*const MemoryFile, Arc<MemoryFile>> = BTreeMap::new();
        let mut reached = BTreeSet::from([0]);
        let mut waiting = vec![0];
        while let Some(at) = waiting.pop() {
            let Directory { names, synced } = &self.directories[at];
            let all: BTreeSet<&OsString> = names.keys().chain(synced.keys()).collect();
            for name in all {
                let (now, before) = (names.get(name), synced.get(name));
                let kept = if same(now, before) || survives() { now } else { before };
                let Some(kept) = kept else { continue };
                let node = match kept {
                    Node::Directory(next) => {
                        // A moved directory whose two names both survived keeps one of them.
                        if !reached.insert(*next) {
                            continue;
                        }
                        waiting.push(*next);
                        Node::Directory(*next)
                    }
                    Node::File(file) => {
                        let copy = || Arc::new(file.after_crash(survives, state));
                        Node::File(files.entry(Arc::as_ptr(file)).or_insert_with(copy).clone())
                    }
                };
                let directory = &mut tree.directories[at];
                directory.names.insert(name.clone(), node.clone());
                directory.synced.insert(name.clone(), node);
            }
        }
        tree
    }
}

pub(super) fn same(a: Option<&Node>, b: Option<&Node>) -> bool {
    match (a, b) {
        (Some(Node::File(a)), Some(Node::File(b))) => Arc::ptr_eq(a, b),
        (Some(Node::Directory(a)), Some(Node::Directory(b))) => a == b,
        (a, b) => a.is_none() && b.is_none(),
    }
}
