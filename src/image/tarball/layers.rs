//! The layers of an image, each a tar archive, as one [`Tree`]: what a container would find in its root.
//!
//! Nothing is ever unpacked by name: the tree is in memory, and the data stays where it is until it is asked for. So there
//! is nothing outside that a name could lead to. A link is followed within the tree alone, its root the image's, as a
//! container's would be. `..` in a name is refused, and so is a file below something that is no directory.
//!
//! In a layer, what comes later takes the place of what came before. A whiteout (`.wh.NAME`, `.wh..wh..opq`) hides what is
//! in the layers below, wherever in its own layer it stands.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;

use super::reader::{Raw, Reader};
use super::{Body, Here, Member, Name, above, directory, name_of, own, path};
use crate::error::{Context as _, Error, Result};
use crate::image::cpio::check_length;
use crate::image::tree::{Kind, Meta, Same, Tree, Visitor, show};

/// The most that an image may have of anything, over all layers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Members of all archives.
    pub entries: usize,
    /// Bytes of all names and targets of links.
    pub names: u64,
    /// Pieces of all sparse files.
    pub pieces: usize,
    /// Directories that a file is in.
    pub depth: usize,
    /// Directories and links that are looked at on the way to all files.
    pub steps: u64,
    /// Bytes of all layers, uncompressed, and of all files that come of them.
    pub bytes: u64,
}

impl Limits {
    /// What kraft takes.
    pub const OURS: Self =
        Self { entries: 1_000_000, names: 128 << 20, pieces: 1 << 20, depth: 256, steps: 1 << 25, bytes: 4 << 30 };
}

/// The most steps that a name may take through links; `PATH_MAX` would be as many.
const STEPS: usize = 2048;
/// The most links on the way to a file, as in Linux.
const LINKS: usize = 40;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Layers that were put upon another.
#[derive(Debug)]
pub struct Layers {
    archives: Vec<File>,
    members: BTreeMap<Name, Node>,
    /// How many names a file has, by its number.
    names: Vec<u32>,
    limits: Limits,
    used: Used,
}

#[derive(Debug, Default)]
struct Used {
    entries: usize,
    names: u64,
    pieces: usize,
    steps: Cell<u64>,
}

#[derive(Debug, Clone)]
struct Node {
    member: Member,
    /// The archive that its data is in.
    archive: usize,
}

/// What a name means in a layer.
enum Entry {
    File(Raw),
    /// Hides one name, or all that a directory has.
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

impl Layers {
    /// An empty root.
    pub fn new(limits: Limits) -> Self {
        Self { archives: Vec::new(), members: BTreeMap::new(), names: Vec::new(), limits, used: Used::default() }
    }

    /// Puts one more layer upon those that are there: an archive that is not compressed.
    ///
    /// # Errors
    /// When it cannot be read, is cut off, or holds what is refused; when there is more than the limits allow.
    pub fn add(&mut self, file: File) -> Result<()> {
        let mut hidden = (BTreeSet::new(), BTreeSet::new());
        let mut entries = Vec::new();
        let mut reader = Reader::new(&file)?;
        while let Some(raw) = reader.next()? {
            check_length(&raw.path)?;
            let of = show(&raw.path);
            self.count(&raw).with_context(|| of.clone())?;
            match entry(raw).with_context(|| of)? {
                Some(Entry::File(raw)) => entries.push(raw),
                Some(Entry::Whiteout(path)) => drop(hidden.0.insert(path)),
                Some(Entry::Opaque(path)) => drop(hidden.1.insert(path)),
                None => {}
            }
        }
        // They are about the layers below, which are all that is there by now.
        for path in hidden.0 {
            self.hide(&path, Hidden::All).with_context(|| show(&path))?;
        }
        for path in hidden.1 {
            self.hide(&path, Hidden::Within).with_context(|| show(&path))?;
        }
        self.archives.push(file);
        for raw in entries {
            let of = show(&raw.path);
            self.put(raw).with_context(|| of)?;
        }
        Ok(())
    }

    fn count(&mut self, raw: &Raw) -> Result<()> {
        self.used.entries += 1;
        self.used.names += (raw.path.len() + raw.link.len()) as u64;
        self.used.pieces += raw.pieces.as_ref().map_or(0, Vec::len);
        let Limits { entries, names, pieces, .. } = self.limits;
        let too_many = |what: String| Err(Error::new(format!("the image has more than {what}")));
        if self.used.entries > entries {
            return too_many(format!("{entries} files"));
        }
        if self.used.names > names {
            return too_many(format!("{names} bytes of names"));
        }
        if self.used.pieces > pieces {
            return too_many(format!("{pieces} pieces of sparse files"));
        }
        Ok(())
    }

    fn hide(&mut self, path: &[u8], what: Hidden) -> Result<()> {
        let name = match name_of(path)? {
            Some(name) => match self.place(&name)? {
                Some(name) => name,
                None => return Ok(()),
            },
            None => Name::new(),
        };
        match what {
            Hidden::All => self.remove(&name),
            Hidden::Within => self.remove_below(&name),
        }
        Ok(())
    }

    /// Where a new file of this name comes to be: its directory through all links. `None` if that cannot have files.
    fn place(&self, name: &[u8]) -> Result<Option<Name>> {
        let (dir, last) = match name.iter().rposition(|byte| *byte == 0) {
            Some(at) => (&name[..at], &name[at + 1..]),
            None => return Ok(Some(name.to_vec())),
        };
        let mut place = match self.follow(dir)? {
            Some(dir) => dir,
            None => return Ok(None),
        };
        if !place.is_empty() {
            place.push(0);
        }
        place.extend(last);
        Ok(Some(place))
    }

    /// The directory of this name, through all links, within the root; it need not be there. `None` if it is a file, or
    /// below one.
    fn follow(&self, dir: &[u8]) -> Result<Option<Name>> {
        let mut left: VecDeque<Vec<u8>> = dir.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        let (mut at, mut steps, mut links) = (Name::new(), 0, 0);
        while let Some(part) = left.pop_front() {
            steps += 1;
            self.used.steps.set(self.used.steps.get() + 1);
            if steps > STEPS || self.used.steps.get() > self.limits.steps {
                return Err(Error::new("its name leads through too many directories"));
            }
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    // The root is above itself.
                    let end = at.iter().rposition(|byte| *byte == 0).unwrap_or(0);
                    at.truncate(end);
                    continue;
                }
                _ => {}
            }
            let before = at.len();
            if !at.is_empty() {
                at.push(0);
            }
            at.extend(&part);
            let Some(node) = self.members.get(&at) else { continue };
            match (&node.member.body, node.member.meta.kind) {
                (Body::Target(target), _) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Error::new("its name leads through too many links"));
                    }
                    at.truncate(if target.starts_with(b"/") { 0 } else { before });
                    for part in target.rsplit(|byte| *byte == b'/') {
                        left.push_front(part.to_vec());
                    }
                    if left.len() > STEPS {
                        return Err(Error::new("its name leads through too many directories"));
                    }
                }
                (_, Kind::Directory) => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn put(&mut self, raw: Raw) -> Result<()> {
        let Some(name) = name_of(&raw.path)? else {
            return if raw.kind.is_dir() { Ok(()) } else { Err(Error::new("it takes the place of the root")) };
        };
        let depth = |name: &[u8]| name.iter().filter(|byte| **byte == 0).count();
        let too_deep = || Error::new(format!("it is in more than {} directories", self.limits.depth));
        if depth(&name) > self.limits.depth {
            return Err(too_deep());
        }
        let Some(name) = self.place(&name)? else {
            return Err(Error::new("it is in something that is not a directory"));
        };
        if depth(&name) > self.limits.depth {
            return Err(too_deep());
        }
        check_length(&name)?;
        let node = if raw.kind.is_hard_link() {
            self.link(&raw, &name)?
        } else {
            Some(Node { member: own(&mut self.names, raw)?, archive: self.archives.len() - 1 })
        };
        let Some(mut node) = node else { return Ok(()) };
        if node.member.is_directory() {
            if self.members.get(&name).is_some_and(|old| !old.member.is_directory()) {
                self.remove(&name);
            }
        } else {
            self.remove(&name);
        }
        node.member.meta.path = path(&name);
        self.members.insert(name, node);
        Ok(())
    }

    /// Another name of a file that came before; `None` if it is its own.
    fn link(&mut self, raw: &Raw, name: &[u8]) -> Result<Option<Node>> {
        let to = show(&raw.link);
        let target = name_of(&raw.link).with_context(|| format!("it is a hard link to {to}"))?;
        let target = target.map(|target| self.place(&target)).transpose()?.flatten();
        let node = target.as_ref().and_then(|target| self.members.get(target));
        match node {
            None => Err(Error::new(format!("it is a hard link to {to}, which does not come before it"))),
            Some(node) if node.member.is_directory() => {
                Err(Error::new(format!("it is a hard link to the directory {to}")))
            }
            Some(_) if raw.size != 0 => Err(Error::new("it has data, but is a hard link")),
            Some(_) if target.as_deref() == Some(name) => Ok(None),
            Some(node) => {
                self.names[node.member.number] += 1;
                Ok(Some(node.clone()))
            }
        }
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(node) = self.members.remove(name) {
            self.forget(&node);
        }
        self.remove_below(name);
    }

    fn remove_below(&mut self, name: &[u8]) {
        let mut first = name.to_vec();
        if !name.is_empty() {
            first.push(0);
        }
        let is_below = |other: &Name| other.starts_with(&first);
        let below: Vec<Name> = self
            .members
            .range(first.clone()..)
            .map(|(name, _)| name)
            .take_while(|name| is_below(name))
            .cloned()
            .collect();
        for name in below {
            if let Some(node) = self.members.remove(&name) {
                self.forget(&node);
            }
        }
    }

    fn forget(&mut self, node: &Node) {
        if let Some(names) = self.names.get_mut(node.member.number) {
            *names = names.saturating_sub(1);
        }
    }

    /// Takes a file, or a directory with all that is in it, out of the tree.
    pub fn leave_out(&mut self, path: &str) {
        if let Ok(Some(name)) = name_of(path.as_bytes()) {
            self.remove(&name);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The regular file of this name, through all links: its size and its data.
    ///
    /// # Errors
    /// When the name cannot be one, or is that of something else; `None` if there is nothing.
    pub fn file(&self, path: &str) -> Result<Option<(u64, Box<dyn Read + '_>)>> {
        let Some(mut name) = name_of(path.as_bytes())? else { return Err(Error::new("it is the root")) };
        for _ in 0..=LINKS {
            let Some(place) = self.place(&name)? else { return Ok(None) };
            let Some(node) = self.members.get(&place) else { return Ok(None) };
            match &node.member.body {
                Body::Target(target) => {
                    let dir = place.iter().rposition(|byte| *byte == 0).map_or(0, |at| at + 1);
                    name = if target.starts_with(b"/") { Name::new() } else { place[..dir].to_vec() };
                    // The last part is looked up where the rest leads to.
                    name.extend(target.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }));
                }
                Body::At(_) | Body::Sparse(..) => {
                    let size = node.member.meta.size;
                    return Ok(Some((size, self.data(node)?)));
                }
                Body::None => return Err(Error::new("it is not a regular file")),
            }
        }
        Err(Error::new("its name leads through too many links"))
    }

    fn data<'a>(&'a self, node: &'a Node) -> Result<Box<dyn Read + 'a>> {
        let file = self.archives.get(node.archive).ok_or_else(|| Error::new("its layer is gone"))?;
        Here { file, body: &node.member.body, size: node.member.meta.size }.into_data()
    }

    /// Checks that all files together keep to the limit, holes of sparse ones included.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_size(&self) -> Result<()> {
        let mut left = self.limits.bytes;
        for node in self.members.values() {
            left = left.checked_sub(node.member.meta.size).ok_or_else(|| {
                let why = format!("the files of the image come to more than {} bytes", self.limits.bytes);
                Error::new(why).context(show(&node.member.meta.path))
            })?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Hidden {
    All,
    Within,
}

/// `None` is what only a builder's own file system has a use for.
fn entry(raw: Raw) -> Result<Option<Entry>> {
    let end = raw.path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let start = raw.path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let (dir, last) = (&raw.path[..start], &raw.path[start..end]);
    // An empty name would not be the root's, but wrong.
    let within = |dir: &[u8]| if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
    if last == OPAQUE {
        return Ok(Some(Entry::Opaque(within(dir))));
    }
    match last.strip_prefix(WHITEOUT) {
        None => Ok(Some(Entry::File(raw))),
        Some(b"" | b"." | b"..") => Err(Error::new("it hides nothing that has a name")),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Ok(None),
        Some(hidden) => Ok(Some(Entry::Whiteout([dir, hidden].concat()))),
    }
}

impl Tree for Layers {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut before: &[u8] = &[];
        for (name, Node { member, archive }) in &self.members {
            let file = self.archives.get(*archive).ok_or_else(|| Error::new("its layer is gone"))?;
            // Those that are only implied come up here, as in one archive.
            let is_shown = |above: &[u8]| before.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&0));
            for above in above(name).filter(|above| !self.members.contains_key(*above) && !is_shown(above)) {
                visitor(&directory(path(above)), &Here { file, body: &Body::None, size: 0 })?;
            }
            before = name;
            let names = self.names.get(member.number).copied().unwrap_or(1);
            let same = (names > 1).then_some(Same { id: (0, member.number as u64), names });
            let meta = Meta { same, ..member.meta.clone() };
            visitor(&meta, &Here { file, body: &member.body, size: meta.size })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
