//! What `kraft top` shows: which machines, in which order, with which one marked; and what keys do. Pure.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::cli::samples::{COLUMNS, Sample};

/// What comes after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The same, drawn anew.
    Stay,
    /// Another look at the machines.
    Look,
    /// The end.
    Quit,
}

/// The list and what is chosen in it.
#[derive(Debug)]
pub(super) struct List {
    samples: Vec<Sample>,
    /// Also those that do not run.
    pub(super) all: bool,
    /// Which of the columns it is sorted by.
    pub(super) column: usize,
    /// The smallest first; of names the last.
    pub(super) reversed: bool,
    /// Part of the names that are shown.
    pub(super) filter: String,
    /// Keys go into the filter.
    pub(super) typing: bool,
    /// The machine that is marked.
    marked: Option<String>,
}

impl List {
    pub(super) fn new(all: bool) -> Self {
        let (filter, samples) = (String::new(), Vec::new());
        Self { samples, all, column: 1, reversed: false, filter, typing: false, marked: None }
    }

    /// Takes the newest samples.
    pub(super) fn renew(&mut self, samples: Vec<Sample>) {
        self.samples = samples;
    }

    /// The machines that are shown, in their order.
    pub(super) fn shown(&self) -> Vec<&Sample> {
        let mut shown: Vec<&Sample> = self.samples.iter().filter(|sample| sample.name.contains(&self.filter)).collect();
        shown.sort_by(|a, b| {
            let order = self.compare(a, b);
            if self.reversed { order.reverse() } else { order }
        });
        shown
    }

    /// How many there are, shown or not.
    pub(super) fn count(&self) -> usize {
        self.samples.len()
    }

    /// Where the mark is among those that are shown.
    pub(super) fn marked(&self) -> Option<usize> {
        let marked = self.marked.as_deref()?;
        self.shown().iter().position(|sample| sample.name == marked)
    }

    /// By name; else what takes the most comes first, and what is not known last.
    fn compare(&self, a: &Sample, b: &Sample) -> Ordering {
        let sum = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0).saturating_add(b.unwrap_or(0)));
        let most = |a: Option<u64>, b: Option<u64>| b.cmp(&a);
        let highest = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        let order = match self.column {
            1 => highest(a.cpu_percent, b.cpu_percent),
            2 => most(a.memory, b.memory),
            3 => highest(a.memory_percent, b.memory_percent),
            4 => most(sum(a.net_rx, a.net_tx), sum(b.net_rx, b.net_tx)),
            5 => most(sum(a.io_read, a.io_write), sum(b.io_read, b.io_write)),
            6 => most(a.tasks, b.tasks),
            _ => Ordering::Equal,
        };
        order.then_with(|| a.name.cmp(&b.name))
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        // In raw mode it is a key, and no signal.
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Next::Quit;
        }
        if self.typing {
            self.type_filter(key.code);
            return Next::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('a') => {
                self.all = !self.all;
                return Next::Look;
            }
            KeyCode::Right => self.column = (self.column + 1) % COLUMNS.len(),
            KeyCode::Left => self.column = (self.column + COLUMNS.len() - 1) % COLUMNS.len(),
            KeyCode::Down | KeyCode::Char('j') => self.mark(|at, last| (at + 1).min(last), 0),
            KeyCode::Up | KeyCode::Char('k') => self.mark(|at, _| at.saturating_sub(1), usize::MAX),
            KeyCode::Home => self.mark(|_, _| 0, 0),
            KeyCode::End => self.mark(|_, last| last, usize::MAX),
            _ => {}
        }
        Next::Stay
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }

    /// Moves the mark; without one, it comes to where `first` is. It stays on its machine wherever that goes.
    fn mark(&mut self, step: impl Fn(usize, usize) -> usize, first: usize) {
        let at = self.marked();
        let shown = self.shown();
        let Some(last) = shown.len().checked_sub(1) else { return };
        let to = at.map_or(first.min(last), |at| step(at, last));
        self.marked = shown.get(to).map(|sample| sample.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::State;

    fn sample(name: &str, cpu: Option<f64>, memory: Option<u64>) -> Sample {
        Sample {
            name: name.into(),
            state: State::Running,
            cpu_percent: cpu,
            cpu_usec: None,
            cpu_throttled: None,
            memory,
            memory_limit: None,
            memory_percent: None,
            net_rx: None,
            net_tx: memory,
            io_read: None,
            io_write: None,
            tasks: None,
            tasks_limit: None,
        }
    }

    fn list() -> List {
        let mut list = List::new(false);
        list.renew(vec![
            sample("web", Some(1.0), Some(9)),
            sample("db", None, Some(5)),
            sample("api", Some(90.0), None),
        ]);
        list
    }

    fn names(list: &List) -> Vec<&str> {
        list.shown().iter().map(|sample| sample.name.as_str()).collect()
    }

    fn press(list: &mut List, keys: &[KeyCode]) -> Next {
        keys.iter().fold(Next::Stay, |_, &key| list.press(KeyEvent::from(key)))
    }

    #[test]
    fn columns_sort() {
        let mut list = list();
        assert_eq!(names(&list), ["api", "web", "db"]);
        press(&mut list, &[KeyCode::Right]);
        assert_eq!(names(&list), ["web", "db", "api"]);
        press(&mut list, &[KeyCode::Char('r')]);
        assert_eq!(names(&list), ["api", "db", "web"]);
        press(&mut list, &[KeyCode::Char('r'), KeyCode::Right, KeyCode::Right]);
        assert_eq!(names(&list), ["web", "db", "api"], "by what the network carried");
        press(&mut list, &[KeyCode::Left; 4]);
        assert_eq!((list.column, names(&list)), (0, vec!["api", "db", "web"]));
        press(&mut list, &[KeyCode::Left]);
        assert_eq!(list.column, COLUMNS.len() - 1);
    }

    #[test]
    fn the_mark_stays_on_its_machine() {
        let mut list = list();
        assert_eq!(list.marked(), None);
        press(&mut list, &[KeyCode::Down]);
        assert_eq!(list.marked(), Some(0));
        press(&mut list, &[KeyCode::Char('r')]);
        assert_eq!(list.marked(), Some(2));
        press(&mut list, &[KeyCode::Down, KeyCode::Up, KeyCode::Up, KeyCode::Up]);
        assert_eq!(list.marked(), Some(0));
        press(&mut list, &[KeyCode::End]);
        assert_eq!(list.marked(), Some(2));
        list.renew(Vec::new());
        press(&mut list, &[KeyCode::Down]);
        assert_eq!(list.marked(), None);
    }

    #[test]
    fn a_filter_is_typed() {
        let mut list = list();
        press(&mut list, &[KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Backspace, KeyCode::Char('b')]);
        assert_eq!(names(&list), ["web", "db"]);
        assert!(list.typing);
        press(&mut list, &[KeyCode::Enter]);
        assert_eq!((list.typing, names(&list)), (false, vec!["web", "db"]));
        press(&mut list, &[KeyCode::Esc]);
        assert_eq!(names(&list).len(), 3);
    }

    #[test]
    fn keys_that_ask_for_more() {
        let mut list = list();
        assert_eq!(press(&mut list, &[KeyCode::Char('a')]), Next::Look);
        assert!(list.all);
        assert_eq!(press(&mut list, &[KeyCode::Char('x')]), Next::Stay);
        assert_eq!(press(&mut list, &[KeyCode::Char('q')]), Next::Quit);
        assert_eq!(list.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
    }
}
