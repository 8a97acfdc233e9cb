//! SIGINT and SIGTERM as values: the first asks for an orderly end, the second for a forced one.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{error::CommandError, run::Interrupts, ui::Ui};

/// From now on counts SIGINT and SIGTERM instead of dying from them; `ui` is told, where ending takes a while.
///
/// # Errors
/// When the handlers cannot be installed.
pub(super) fn listen(ui: Option<&Ui>) -> Result<Interrupts, CommandError> {
    let failed = |error| {
        CommandError::caused(
            crate::error::ErrorKind::Infrastructure,
            "failed to install signal handlers",
            error,
        )
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (count, interrupts) = watch::channel(0);
    let ui = ui.cloned();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = count.closed() => return,
            }
            count.send_modify(|times| *times += 1);
            if let Some(ui) = &ui {
                ui.line(announcement(*count.borrow()));
            }
        }
    });
    Ok(interrupts)
}

const fn announcement(times: u32) -> &'static str {
    match times {
        1 => "interrupted: ending in an orderly way; once more ends it by force",
        _ => "interrupted again: ending by force",
    }
}

/// Returns when somebody has interrupted.
pub(super) async fn interrupted(interrupts: &mut Interrupts) {
    if interrupts.wait_for(|times| *times > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}
