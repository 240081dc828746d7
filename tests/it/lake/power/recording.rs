//! What a process did to its files, and what a disk may hold of it after a power loss.
//!
//! The bytes of a file are safe once an fsync of the file that began after they were written has ended, a name once
//! such an fsync of its directory has. Of everything else each part may be there or not: sectors of a write, and
//! names. That is less than any file system keeps.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The options of `strace` whose output [`Recording::read`] reads.
pub(super) const OPTIONS: [&str; 7] = [
    "-ttt",
    "-y",
    "-xx",
    "-s",
    "100000000",
    "-e",
    "trace=openat,write,pwrite64,writev,fsync,fdatasync,?rename,?renameat,?renameat2,?link,linkat,\
     ?unlink,unlinkat,ftruncate,?mkdir,mkdirat,fallocate",
];

const SECTOR: usize = 512;

/// Numbers that look random, and are the same for a seed.
pub(super) struct Luck(u64);

impl Luck {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// True in so many of 100 cases.
    fn strikes(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The parts of a folder, and all that was done to them.
pub(super) struct Recording {
    root: PathBuf,
    /// What each file held at the beginning.
    files: Vec<Vec<u8>>,
    /// The names at the beginning, without the root; directories have no file.
    names: BTreeMap<PathBuf, Option<usize>>,
    steps: Vec<Step>,
    /// When each thing was synced: the first and the last line of the call.
    file_syncs: HashMap<usize, Vec<(usize, usize)>>,
    directory_syncs: HashMap<PathBuf, Vec<(usize, usize)>>,
}

/// A change, between two lines of the trace.
struct Step {
    begun: usize,
    ended: usize,
    at: f64,
    change: Change,
}

enum Change {
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    Cut { file: usize, length: usize },
    Name { path: PathBuf, file: Option<usize> },
    Rename { from: PathBuf, to: PathBuf, file: usize },
    Unlink { path: PathBuf },
}

/// What the folder is while the calls are followed.
struct Live {
    names: BTreeMap<PathBuf, Option<usize>>,
    lengths: Vec<usize>,
}

/// A system call: its first and its last line, and its text with the answer.
struct Call {
    begun: usize,
    ended: usize,
    at: f64,
    text: String,
}

impl Recording {
    /// Reads what the traced processes did to these `parts` of `root`, which were as `base` has them. The directories
    /// `left` were there too, but never synced: somebody was killed who had just made them.
    pub(super) fn read(
        root: &Path,
        base: &Path,
        parts: &[&str],
        left: &[&str],
        traces: &[PathBuf],
    ) -> Self {
        let mut recording = Self {
            root: root.to_path_buf(),
            files: Vec::new(),
            names: BTreeMap::new(),
            steps: Vec::new(),
            file_syncs: HashMap::new(),
            directory_syncs: HashMap::new(),
        };
        for (path, content) in parts.iter().flat_map(|part| tree(base, Path::new(part))) {
            let file = content.map(|content| recording.add(content));
            recording.names.insert(path, file);
        }
        recording.steps.extend(left.iter().map(|path| Step {
            begun: 0,
            ended: 0,
            at: 0.0,
            change: Change::Name { path: path.into(), file: None },
        }));
        let lengths = recording.files.iter().map(Vec::len).collect();
        let mut live = Live { names: recording.names.clone(), lengths };
        live.names.extend(left.iter().map(|path| (path.into(), None)));
        for call in calls(traces) {
            recording.follow(&call, parts, &mut live);
        }
        recording
    }

    fn add(&mut self, content: Vec<u8>) -> usize {
        self.files.push(content);
        self.files.len() - 1
    }

    fn follow(&mut self, call: &Call, parts: &[&str], live: &mut Live) {
        let Call { begun, ended, at, text } = call;
        let result = text.rsplit_once(") = ").map_or("", |(_, result)| result);
        if result.starts_with('-') || result.starts_with('?') || result.is_empty() {
            return;
        }
        let strings = strings(text);
        // The paths that the call names, within the parts.
        let within = |bytes: &Vec<u8>| {
            let path = PathBuf::from(OsString::from_vec(bytes.clone()));
            let path = path.strip_prefix(&self.root).ok()?.to_path_buf();
            // A file is written under a name of its own first, which begins so.
            let begins = |part: &str| path.as_os_str().as_bytes().starts_with(part.as_bytes());
            let is_part = |part: &&str| {
                path.starts_with(part) || begins(&format!("{part}-")) || path.as_os_str().is_empty()
            };
            parts.iter().any(is_part).then_some(path)
        };
        let paths: Vec<_> = strings.iter().filter_map(within).collect();
        let Some(path) = paths.last() else { return };
        let name = text.split_once('(').map_or("", |(name, _)| name);
        if matches!(name, "fsync" | "fdatasync") {
            let sync = (*begun, *ended);
            match live.names.get(path).copied().flatten() {
                Some(file) => self.file_syncs.entry(file).or_default().push(sync),
                None => self.directory_syncs.entry(path.clone()).or_default().push(sync),
            }
            return;
        }
        let change = match name {
            "openat" => self.opened(path, text, live),
            // All that write here write on at the end.
            "write" => {
                assert_eq!(result.parse(), Ok(strings[1].len()), "a write was recorded in part");
                Some(live.written(path, strings[1].clone()))
            }
            _ => Some(live.changed(name, &paths, text)),
        };
        let step = |change| Step { begun: *begun, ended: *ended, at: *at, change };
        self.steps.extend(change.map(step));
    }

    fn opened(&mut self, path: &Path, text: &str, live: &mut Live) -> Option<Change> {
        match live.names.get(path).copied() {
            None if text.contains("O_CREAT") => {
                let file = Some(self.add(Vec::new()));
                live.lengths.push(0);
                live.names.insert(path.to_path_buf(), file);
                Some(Change::Name { path: path.to_path_buf(), file })
            }
            Some(Some(file)) if text.contains("O_TRUNC") => {
                live.lengths[file] = 0;
                Some(Change::Cut { file, length: 0 })
            }
            _ => None,
        }
    }

    /// The number of changes.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// When a change began, in seconds since 1970.
    pub(super) fn begun_at(&self, step: usize) -> f64 {
        self.steps[step].at
    }

    /// Writes what all that was done led to, as a disk has it that lost nothing.
    pub(super) fn whole(&self, into: &Path) {
        self.write(usize::MAX, &mut Luck::new(1), 100, into);
    }

    /// Writes what a disk may hold when the power goes as a change begins. Of what was not synced, so many of 100
    /// parts are there.
    pub(super) fn image(&self, step: usize, luck: &mut Luck, percent: usize, into: &Path) {
        self.write(self.steps[step].begun + 1, luck, percent, into);
    }

    fn write(&self, until: usize, luck: &mut Luck, percent: usize, into: &Path) {
        let (mut files, mut names) = (self.files.clone(), self.names.clone());
        let is_safe = |syncs: Option<&Vec<(usize, usize)>>, ended: usize| {
            let in_time = |(begun, done): &(usize, usize)| *begun >= ended && *done < until;
            syncs.is_some_and(|syncs| syncs.iter().any(in_time))
        };
        for step in self.steps.iter().filter(|step| step.begun < until) {
            let named = |path: &Path| {
                is_safe(self.directory_syncs.get(path.parent().unwrap_or(path)), step.ended)
            };
            match &step.change {
                Change::Write { file, offset, bytes } => {
                    let is_safe = is_safe(self.file_syncs.get(file), step.ended);
                    for (place, byte) in sectors(*offset, bytes) {
                        if is_safe || luck.strikes(percent) {
                            let end = place + byte.len();
                            let held = &mut files[*file];
                            held.resize(held.len().max(end), 0);
                            held[place..end].copy_from_slice(byte);
                        }
                    }
                }
                Change::Cut { file, length } => {
                    if is_safe(self.file_syncs.get(file), step.ended) || luck.strikes(percent) {
                        files[*file].resize(*length, 0);
                    }
                }
                Change::Name { path, file } => {
                    if named(path) || luck.strikes(percent) {
                        names.insert(path.clone(), *file);
                    }
                }
                Change::Rename { from, to, file } => {
                    if named(to) || luck.strikes(percent) {
                        names.remove(from);
                        names.insert(to.clone(), Some(*file));
                    }
                }
                Change::Unlink { path } => {
                    if named(path) || luck.strikes(percent) {
                        names.remove(path);
                    }
                }
            }
        }
        put(&names, &files, into);
    }
}

fn put(names: &BTreeMap<PathBuf, Option<usize>>, files: &[Vec<u8>], into: &Path) {
    for (path, file) in names {
        // In order, so a directory is there before what is in it, unless it was lost.
        let to = into.join(path);
        if !to.parent().is_some_and(Path::is_dir) {
            continue;
        }
        match file {
            Some(file) => fs::write(to, &files[*file]).unwrap(),
            None => fs::create_dir(to).unwrap(),
        }
    }
}

impl Live {
    fn file(&self, path: &Path) -> usize {
        let file = self.names.get(path).copied().flatten();
        file.unwrap_or_else(|| panic!("{} is no file", path.display()))
    }

    fn written(&mut self, path: &Path, bytes: Vec<u8>) -> Change {
        let file = self.file(path);
        let offset = self.lengths[file];
        self.lengths[file] += bytes.len();
        Change::Write { file, offset, bytes }
    }

    fn changed(&mut self, name: &str, paths: &[PathBuf], text: &str) -> Change {
        let path = paths[paths.len() - 1].clone();
        match name {
            "ftruncate" => {
                let arguments = text.rsplit_once(") = ").unwrap().0;
                let length = arguments.rsplit_once(", ").unwrap().1.parse().unwrap();
                let file = self.file(&path);
                self.lengths[file] = length;
                Change::Cut { file, length }
            }
            "mkdir" | "mkdirat" => {
                self.names.insert(path.clone(), None);
                Change::Name { path, file: None }
            }
            "link" | "linkat" => {
                let file = Some(self.file(&paths[0]));
                self.names.insert(path.clone(), file);
                Change::Name { path, file }
            }
            "rename" | "renameat" | "renameat2" => {
                let (from, file) = (paths[0].clone(), self.file(&paths[0]));
                self.names.remove(&from);
                self.names.insert(path.clone(), Some(file));
                Change::Rename { from, to: path, file }
            }
            "unlink" => {
                self.names.remove(&path);
                Change::Unlink { path }
            }
            _ => panic!("this call is not known here: {name} of {}", path.display()),
        }
    }
}

/// The sectors of a write, each with its place in the file.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut place = offset;
    std::iter::from_fn(move || {
        let rest = bytes.get(place - offset..).filter(|rest| !rest.is_empty())?;
        let sector = &rest[..rest.len().min(SECTOR - place % SECTOR)];
        place += sector.len();
        Some((place - sector.len(), sector))
    })
}

/// All that is at and below `part`: files with their content, directories without. Nothing where nothing is.
pub(super) fn tree(root: &Path, part: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let path = root.join(part);
    if !path.is_dir() {
        return fs::read(path).into_iter().map(|held| (part.to_path_buf(), Some(held))).collect();
    }
    let mut found = vec![(part.to_path_buf(), None)];
    for entry in fs::read_dir(path).unwrap() {
        found.extend(tree(root, &part.join(entry.unwrap().file_name())));
    }
    found.sort();
    found
}

/// The calls of some traces as they began. One that another thread interrupted has two lines.
fn calls(traces: &[PathBuf]) -> Vec<Call> {
    let mut lines = Vec::new();
    for (trace, path) in traces.iter().enumerate() {
        for line in fs::read_to_string(path).unwrap().lines() {
            let (thread, rest) = line.split_once(' ').unwrap();
            let (at, text) = rest.trim_start().split_once(' ').unwrap();
            let at: f64 = at.parse().unwrap();
            lines.push((at, (trace, thread.to_owned()), text.to_owned()));
        }
    }
    lines.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut calls, mut open) = (Vec::<Call>::new(), HashMap::new());
    for (number, (at, thread, text)) in lines.into_iter().enumerate() {
        if let Some(text) = text.strip_suffix("<unfinished ...>") {
            open.insert(thread, calls.len());
            calls.push(Call { begun: number, ended: usize::MAX, at, text: text.to_owned() });
        } else if let Some((_, rest)) = text.split_once(" resumed>") {
            if let Some(call) = open.remove(&thread).and_then(|call| calls.get_mut(call)) {
                call.text.push_str(rest);
                call.ended = number;
            }
        } else {
            calls.push(Call { begun: number, ended: number, at, text });
        }
    }
    calls
}

/// The strings and paths of a call, which are written as `\x2f\x74…` in quotes or angle brackets.
fn strings(text: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (place, _) in text.match_indices(['"', '<']) {
        let rest = &text[place + 1..];
        let end = rest.find(['"', '>']).unwrap_or(0);
        let bytes: Option<Vec<u8>> = rest[..end]
            .split("\\x")
            .skip(1)
            .map(|digits| u8::from_str_radix(digits, 16).ok())
            .collect();
        found.extend(bytes.filter(|bytes| !bytes.is_empty()));
    }
    found
}
