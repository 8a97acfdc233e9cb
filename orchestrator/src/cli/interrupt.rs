//! SIGINT and SIGTERM as values: the first asks for an orderly end, the second for a forced one.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{error::CommandError, run::Interrupts, ui::Ui};

/// From now on counts SIGINT and SIGTERM instead of dying from them.
///
/// # Errors
/// When the handlers cannot be installed.
pub(super) fn listen(ui: &Ui) -> Result<Interrupts, CommandError> {
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
    let ui = ui.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = count.closed() => return,
            }
            count.send_modify(|times| *times += 1);
            ui.line(&announcement(*count.borrow()));
        }
    });
    Ok(interrupts)
}

fn announcement(times: u32) -> String {
    match times {
        1 => "interrupted: ending in an orderly way; once more ends it by force".to_owned(),
        _ => "interrupted again: ending by force".to_owned(),
    }
}

/// Returns when somebody has interrupted.
pub(super) async fn interrupted(interrupts: &mut Interrupts) {
    if interrupts.wait_for(|times| *times > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}
