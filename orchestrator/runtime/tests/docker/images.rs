//! Images of programs that are not used any more.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use netsplit_runtime::{Runtime, docker::Docker};

use crate::runs::run_id;

/// Images are told apart by whole seconds.
const UNUSED: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(600);

/// Images of one name, and the container that needs one of them; gone with this value.
struct Images {
    name: String,
    container: String,
}

/// The engine's own client; its output by lines.
fn docker(args: &[&str]) -> Result<Vec<String>, String> {
    let output = Command::new("docker").args(args).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

impl Images {
    fn reference(&self, tag: &str) -> String {
        format!("{}:{tag}", self.name)
    }

    /// Makes an image that bears our label.
    fn import(&self, tag: &str) {
        let reference = self.reference(tag);
        let label = format!("LABEL netsplit.image={reference}");
        let mut import = Command::new("docker")
            .args(["import", "--change", &label, "-", &reference])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut layer = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        layer
            .append_data(&mut header, "program", std::io::empty())
            .unwrap();
        let layer = layer.into_inner().unwrap();
        import.stdin.take().unwrap().write_all(&layer).unwrap();
        assert!(import.wait().unwrap().success());
    }

    /// Tags of what there is, sorted.
    fn tags(&self) -> Vec<String> {
        let mut tags = docker(&["image", "ls", "--format", "{{.Tag}}", &self.name]).unwrap();
        tags.sort();
        tags
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        // Whatever of it there is.
        let _ = docker(&["rm", "--force", &self.container]);
        for tag in self.tags() {
            let _ = docker(&["image", "rm", &self.reference(&tag)]);
        }
    }
}

pub(crate) async fn collected() {
    let name = run_id("images");
    let images = Images {
        container: format!("{name}-used"),
        name,
    };
    let engine = Docker::connect().await.expect("a Docker engine is needed");
    let patient = engine.clone().with_old_images(&images.name, PATIENCE);
    let engine = engine.with_old_images(&images.name, UNUSED);
    images.import("old");
    images.import("used");
    let used = images.reference("used");
    docker(&["create", "--name", &images.container, &used, "/program"]).unwrap();

    // They grow old, the one that follows does not.
    tokio::time::sleep(UNUSED + Duration::from_secs(1)).await;
    images.import("current");
    patient.gc().await.unwrap();
    assert_eq!(images.tags(), ["current", "old", "used"]);
    engine.gc().await.unwrap();
    assert_eq!(images.tags(), ["current", "used"]);

    // Old as it may be, the last of its name stays; what is no longer used goes.
    docker(&["rm", &images.container]).unwrap();
    tokio::time::sleep(UNUSED + Duration::from_secs(1)).await;
    engine.gc().await.unwrap();
    assert_eq!(images.tags(), ["current"]);
}
