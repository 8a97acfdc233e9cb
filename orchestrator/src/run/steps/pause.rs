//! `wait: 10s` and `wait: { over: ID }`.

use std::time::Duration;

use super::{Ended, Progress, Step};
use crate::run::stage::{Notice, Stage, StepKey};

/// Waits for time to pass.
pub(crate) struct Sleep {
    key: StepKey,
    ms: u64,
}

impl Sleep {
    pub(crate) const fn new(key: StepKey, ms: u64) -> Self {
        Self { key, ms }
    }
}

impl Step for Sleep {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        stage.wake(self.key, 0, Duration::from_millis(self.ms));
        Progress::Going
    }

    fn on(&mut self, _stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        matches!(notice, Notice::Due(_))
            .then(|| Ended::passed("time has passed"))
            .into()
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        None
    }
}

/// Waits until a fault or a churn is over.
pub(crate) struct Over {
    id: String,
}

impl Over {
    pub(crate) const fn new(id: String) -> Self {
        Self { id }
    }

    fn look(&self, stage: &Stage<'_>) -> Progress {
        let on = stage.state.fault(&self.id).is_some()
            || stage.desk.concerns(&self.id)
            || stage.background.contains(&self.id);
        (!on)
            .then(|| Ended::passed(format!("`{}` is over", self.id)))
            .into()
    }
}

impl Step for Over {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        self.look(stage)
    }

    fn on(&mut self, stage: &mut Stage<'_>, _notice: &Notice<'_>) -> Progress {
        self.look(stage)
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        Some(format!("`{}` is still on", self.id))
    }
}
