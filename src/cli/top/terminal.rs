//! The terminal while `kraft top` has it. However that ends, it is given back as it was: by a key, an error, a signal
//! (which the loop hears of), or a panic.

use std::io::Stdout;
use std::sync::Once;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

use super::list::List;
use super::screen;
use crate::error::{Context as _, Result};

/// The alternate screen, in raw mode.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn enter() -> Result<Self> {
        give_back_on_panic();
        enable_raw_mode().context("cannot take the terminal")?;
        let entered = execute!(std::io::stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(std::io::stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error).context("cannot take the terminal")
            }
        }
    }

    pub(super) fn draw(&mut self, list: &mut List) -> Result<()> {
        self.terminal.draw(|frame| screen::draw(frame, list)).map(drop).context("cannot draw")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Nobody is left to tell when the terminal is gone.
fn give_back() {
    let _ = execute!(std::io::stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// Before the panic is told, which ends a release build at once.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
    });
}
