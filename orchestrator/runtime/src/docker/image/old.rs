//! Images of programs that are not used any more: every build makes a new one, and they would pile up.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{
        engine::{Engine, EngineError, ErrorKind, ImageInfo, gone_is_fine},
        launch::now,
    },
    LABEL,
};

/// An image that was not used for so long is old. A run makes all its containers long before that, joiners apart, whose
/// image their run's other nodes keep.
const OLD: Duration = Duration::from_secs(3600);

/// Which images are collected.
#[derive(Clone, Debug)]
pub(in super::super) struct Rule {
    /// Those of this name alone; `None`: all of ours.
    pub(in super::super) name: Option<String>,
    /// Those not used for longer than this, in whole seconds.
    pub(in super::super) unused: Duration,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: None,
            unused: OLD,
        }
    }
}

/// Marks an image as used, unless it was marked lately.
pub(super) async fn touch(engine: &dyn Engine, image: &ImageInfo) -> Result<(), EngineError> {
    match image.tagged {
        Some(tagged) if age(tagged) <= OLD.as_secs() / 2 => Ok(()),
        _ => engine.tag_image(&image.reference).await,
    }
}

/// Removes old images that no container is made of, but for the last used of each name; returns how many. Engines do not say
/// how old an image is that was only imported: it is marked, and counts as used now.
///
/// # Errors
/// When the engine cannot be asked what there is.
pub(crate) async fn remove(engine: &dyn Engine, rule: &Rule) -> Result<usize, EngineError> {
    let mut images = engine.images(LABEL).await?;
    images.retain(|image| rule.name.as_ref().is_none_or(|only| only == name(image)));
    for image in images.iter().filter(|image| image.tagged.is_none()) {
        // It may be gone by now.
        gone_is_fine(engine.tag_image(&image.reference).await)?;
    }
    let mut removed = 0;
    for image in superseded(images, rule.unused.as_secs()) {
        // The engine refuses while a container needs it.
        match gone_is_fine(engine.remove_image(&image.reference).await) {
            Ok(()) => removed += 1,
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => tracing::warn!(image = image.reference, %error, "an old image stays"),
        }
    }
    Ok(removed)
}

/// Those that are old and not the last used of their name.
fn superseded(mut images: Vec<ImageInfo>, unused: u64) -> Vec<ImageInfo> {
    let mut latest: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for image in &images {
        let last = latest.entry(name(image).to_owned()).or_default();
        *last = (*last).max(image.tagged);
    }
    images.retain(|image| {
        let is_last = latest[name(image)] == image.tagged;
        !is_last && image.tagged.is_some_and(|tagged| age(tagged) > unused)
    });
    images
}

fn name(image: &ImageInfo) -> &str {
    image
        .reference
        .rsplit_once(':')
        .map_or(&image.reference, |(name, _)| name)
}

fn age(tagged: u64) -> u64 {
    (now().0 / 1_000_000_000).saturating_sub(tagged)
}
