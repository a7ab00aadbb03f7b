//! How `kraft top` looks.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::list::List;
use crate::cli::output;
use crate::cli::samples::COLUMNS;

const KEYS: &str = "q quit  ←→ sort  r reverse  / filter  a all";

/// Draws the list: a line above, the table, a line below.
pub(super) fn draw(frame: &mut Frame<'_>, list: &mut List) {
    let [above, middle, below] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    let shown = list.shown();
    let machines = if list.count() == 1 { "machine" } else { "machines" };
    let heading = match list.filter.is_empty() {
        true => format!("kraft top: {} {machines}", list.count()),
        false => format!("kraft top: {} of {} {machines}", shown.len(), list.count()),
    };
    frame.render_widget(Paragraph::new(heading), above);

    let bold = Style::new().add_modifier(Modifier::BOLD);
    let aligned = |index: usize, text: String| {
        let line = Line::from(text);
        Cell::new(Text::from(line.alignment(if index == 0 { Alignment::Left } else { Alignment::Right })))
    };
    let header = COLUMNS.iter().enumerate().map(|(index, column)| {
        let sorted = index == list.column;
        let arrow = if list.reversed { "↑" } else { "↓" };
        let cell = aligned(index, if sorted { format!("{column}{arrow}") } else { (*column).to_owned() });
        if sorted { cell.style(bold.add_modifier(Modifier::UNDERLINED)) } else { cell.style(bold) }
    });
    let rows: Vec<[String; COLUMNS.len()]> = shown.iter().map(|sample| sample.cells()).collect();
    // As wide as what is in them; names take what is left.
    let width = |index: usize| {
        let header = COLUMNS[index].chars().count() + 1;
        let widest = rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0).max(header);
        u16::try_from(widest).unwrap_or(u16::MAX)
    };
    let widths = (0..COLUMNS.len())
        .map(|index| if index == 0 { Constraint::Min(width(0).min(32)) } else { Constraint::Length(width(index)) });
    let widths: Vec<Constraint> = widths.collect();
    let rows = rows.into_iter().map(|cells| {
        Row::new(cells.into_iter().enumerate().map(|(index, text)| aligned(index, output::shortened(&text, 64))))
    });
    let table = Table::new(rows, widths)
        .header(Row::new(header))
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(list.marked());
    frame.render_stateful_widget(table, middle, &mut state);

    let last = if list.typing { format!("filter: {}_", list.filter) } else { KEYS.to_owned() };
    frame.render_widget(Paragraph::new(last), below);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent};

    #[test]
    fn an_empty_list_and_any_size() {
        for (width, height) in [(80, 10), (1, 1), (3, 2), (200, 50)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let mut list = List::new(false);
            terminal.draw(|frame| draw(frame, &mut list)).unwrap();
            let lines: Vec<String> = terminal
                .backend()
                .buffer()
                .content
                .chunks(usize::from(width))
                .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect())
                .collect();
            if width == 80 {
                assert!(lines[0].starts_with("kraft top: 0 machines"), "{lines:?}");
                assert!(lines[1].contains("CPU %↓") && lines[9].starts_with("q quit"), "{lines:?}");
            }
            list.press(KeyEvent::from(KeyCode::Char('/')));
            terminal.draw(|frame| draw(frame, &mut list)).unwrap();
        }
    }
}
