//! What one types to make a tool do a work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::subject::{Gzip, Subject};
use super::tools::{Tool, Work};
use crate::e2e::{Docker, Podman, Settings};
use crate::lith::{Driver, Lith};
use crate::process::{self, copy_variables};

/// A tool, and where it works.
pub(super) struct Place<'a> {
    pub(super) program: &'a Path,
    pub(super) settings: &'a Settings,
    pub(super) disk: PathBuf,
    pub(super) tool: Tool,
    pub(super) docker: Option<Docker>,
    pub(super) podman: Option<Podman>,
}

/// Layers are unpacked into folders with these names.
const EXTRACT: &str = "cd \"$1\"; shift; n=0; for layer; do n=$((n+1)); mkdir $n; \
                       tar -xf \"$layer\" -C $n || exit; done";

/// Such folders become tars again.
const PACK: &str = "cd \"$1\"; for tree in [0-9]*; do \
                    tar -cf \"saved-$tree.tar\" -C \"$tree\" . || exit; done";

/// GNU tar writes no payload where it sees `/dev/null`, so there is somebody who reads.
const PACK_TO_PIPE: &str = "cd \"$1\"; for tree in [0-9]*; do \
                            tar -cf - -C \"$tree\" . || exit; done | cat > /dev/null";

/// The command that does `work` on `subject`.
pub(super) fn command(place: &Place<'_>, subject: &Subject, work: Work) -> Result<Command> {
    let archive = &subject.docker_archive;
    match work {
        Work::Load | Work::LoadAgain => place.load(subject, archive),
        Work::LoadPipe => {
            let load = place.load_stdin(subject)?;
            Ok(around("cat \"$1\" | \"${@:2}\"", &[archive], &load))
        }
        Work::LoadGzip => place.load_oci(subject),
        Work::FourInTurn => {
            let script = "for image in \"${@:1:4}\"; do \"${@:5}\" \"$image\" || exit; done";
            place.load_four(subject, script)
        }
        Work::FourAtOnce => {
            let script = "for image in \"${@:1:4}\"; do \"${@:5}\" \"$image\" & done; \
                          for job in $(jobs -p); do wait $job || exit; done";
            place.load_four(subject, script)
        }
        Work::Save => place.save(subject, &place.disk.join("saved.tar")),
        Work::SavePipe => {
            let save = place.save(subject, Path::new("/dev/stdout"))?;
            Ok(around("\"$@\" | cat > /dev/null", &[], &save))
        }
        Work::SaveOci => place.save_oci(subject, false),
        Work::SaveGzip => place.save_oci(subject, true),
    }
}

impl Place<'_> {
    fn podman(&self) -> Result<&Podman> {
        self.podman.as_ref().context("no store of podman's")
    }

    fn docker(&self) -> Result<Command> {
        self.docker.as_ref().context("no docker")?.docker()
    }

    fn lith(&self) -> Command {
        let lith = Lith {
            program: self.program.to_owned(),
            root: self.disk.join("store"),
            driver: Some(match self.tool {
                Tool::LithVfs => Driver::Vfs,
                _ => Driver::Overlay,
            }),
        };
        lith.command()
    }

    fn skopeo(&self, options: &[&str], source: &str, target: &str) -> Result<Command> {
        let mut command = self.settings.command("skopeo")?;
        command.args(["--insecure-policy", "copy", "-q"]);
        command.args(options).args([source, target]);
        Ok(command)
    }

    fn nobody<T>(&self, work: &str) -> Result<T> {
        bail!("{} cannot {work}", self.tool.name())
    }

    fn load(&self, subject: &Subject, archive: &Path) -> Result<Command> {
        Ok(match self.tool {
            Tool::Lith | Tool::LithVfs => with(self.lith(), &["load", "-q", "-i"], &[archive]),
            Tool::Podman | Tool::PodmanVfs | Tool::Podman13 => {
                self.podman()?.load_command(archive)?
            }
            Tool::Docker => with(self.docker()?, &["load", "-q", "-i"], &[archive]),
            Tool::Skopeo | Tool::Skopeo13 => self.skopeo(
                &[],
                &format!("docker-archive:{}", archive.display()),
                &self.podman()?.source(&subject.image),
            )?,
            Tool::Tar => {
                let layers: Vec<&Path> = subject.layers.iter().map(PathBuf::as_path).collect();
                shell(EXTRACT, &self.disk, &layers)
            }
            Tool::Openssl => {
                let command = Command::new("openssl");
                with(command, &["dgst", "-sha256"], &[&subject.docker_archive])
            }
            Tool::Umoci | Tool::Cp => return self.nobody("load a docker-archive"),
        })
    }

    /// The same from standard input, which is a pipe.
    fn load_stdin(&self, subject: &Subject) -> Result<Command> {
        match self.tool {
            Tool::Lith | Tool::LithVfs => self.load(subject, Path::new("-")),
            Tool::Podman | Tool::PodmanVfs | Tool::Podman13 => {
                let mut command = self.podman()?.podman()?;
                command.args(["load", "-q", "--signature-policy"]);
                command.arg(self.settings.policy());
                Ok(command)
            }
            Tool::Docker => Ok(with(self.docker()?, &["load", "-q"], &[])),
            _ => self.load(subject, Path::new("/dev/stdin")),
        }
    }

    fn load_oci(&self, subject: &Subject) -> Result<Command> {
        let Gzip { archive, layout } = subject.gzip.as_ref().context("no OCI archive")?;
        let source = format!("oci-archive:{}", archive.display());
        Ok(match self.tool {
            Tool::Lith | Tool::LithVfs => with(self.lith(), &["load", "-q", "-i"], &[archive]),
            Tool::Podman | Tool::PodmanVfs | Tool::Podman13 => {
                let mut command = self.podman()?.podman()?;
                command.args(["pull", "-q", "--signature-policy"]);
                command.arg(self.settings.policy()).arg(source);
                command
            }
            Tool::Skopeo | Tool::Skopeo13 => {
                self.skopeo(&[], &source, &self.podman()?.source(&subject.image))?
            }
            Tool::Umoci => {
                let mut command = self.settings.command("umoci")?;
                let tag = subject.image.rsplit(':').next().unwrap_or("latest");
                command.args(["unpack", "--image"]);
                command.arg(format!("{}:{tag}", layout.display()));
                with(command, &[], &[&self.disk.join("bundle")])
            }
            Tool::Docker | Tool::Tar | Tool::Cp | Tool::Openssl => {
                return self.nobody("load an oci-archive");
            }
        })
    }

    /// `script` gets four archives and then a command that lacks its last word.
    fn load_four(&self, subject: &Subject, script: &str) -> Result<Command> {
        let four: Vec<&Path> = subject.four.iter().map(PathBuf::as_path).collect();
        let first = four.first().context("there are no four images")?;
        let load = self.load(subject, first)?;
        let mut words: Vec<OsString> = load.get_args().map(ToOwned::to_owned).collect();
        words.pop();
        let mut without = Command::new(load.get_program());
        without.args(words);
        copy_variables(&load, &mut without);
        Ok(around(script, &four, &without))
    }

    fn save(&self, subject: &Subject, out: &Path) -> Result<Command> {
        let name = Path::new(&subject.image);
        let pipe = out == Path::new("/dev/stdout");
        Ok(match self.tool {
            Tool::Lith | Tool::LithVfs => {
                let out = if pipe { Path::new("-") } else { out };
                let command = with(self.lith(), &["save", "-q", "-o"], &[out]);
                with(command, &[], &[name])
            }
            Tool::Podman | Tool::PodmanVfs | Tool::Podman13 => {
                let mut command = self.podman()?.podman()?;
                command.args(["save", "-q", "--format=docker-archive"]);
                if !pipe {
                    command.arg("-o").arg(out);
                }
                with(command, &[], &[name])
            }
            Tool::Docker => {
                let mut command = with(self.docker()?, &["save"], &[]);
                if !pipe {
                    command.arg("-o").arg(out);
                }
                with(command, &[], &[name])
            }
            Tool::Skopeo | Tool::Skopeo13 => self.skopeo(
                &[],
                &self.podman()?.source(&subject.image),
                &format!("docker-archive:{}:{}", out.display(), subject.image),
            )?,
            Tool::Tar => shell(if pipe { PACK_TO_PIPE } else { PACK }, &self.disk, &[]),
            Tool::Cp => with(Command::new("cp"), &[], &[&subject.docker_archive, out]),
            Tool::Umoci | Tool::Openssl => return self.nobody("save"),
        })
    }

    /// `compress`: says that it shall be gzip.
    fn save_oci(&self, subject: &Subject, compress: bool) -> Result<Command> {
        let out = self.disk.join("saved.tar");
        let name = Path::new(&subject.image);
        Ok(match self.tool {
            Tool::Lith | Tool::LithVfs => {
                let mut command = self.lith();
                command.args(["save", "-q", "--format=oci-archive"]);
                if compress {
                    command.arg("--compress=gzip");
                }
                with(command, &["-o"], &[&out, name])
            }
            Tool::Podman | Tool::PodmanVfs | Tool::Podman13 => {
                // Loaded by `pull`, it has no other name than its ID.
                let command = self.podman()?.podman()?;
                let command = with(
                    command,
                    &["save", "-q", "--format=oci-archive", "-o"],
                    &[&out],
                );
                let list = process::run(self.podman()?.podman()?.args(["images", "-q"]))?;
                let list = list.ok()?.text();
                with(command, &[list.lines().next().context("no image")?], &[])
            }
            Tool::Skopeo | Tool::Skopeo13 => self.skopeo(
                if compress {
                    &["--dest-compress-format=gzip"]
                } else {
                    &[]
                },
                &self.podman()?.source(&subject.image),
                &format!("oci-archive:{}:{}", out.display(), subject.image),
            )?,
            Tool::Cp => {
                let archive = &subject.gzip.as_ref().context("no OCI archive")?.archive;
                with(Command::new("cp"), &[], &[archive, &out])
            }
            _ => return self.nobody("save an oci-archive"),
        })
    }
}

fn with(mut command: Command, arguments: &[&str], paths: &[&Path]) -> Command {
    command.args(arguments).args(paths);
    command
}

fn shell(script: &str, folder: &Path, arguments: &[&Path]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(folder)
        .args(arguments);
    command
}

/// A script whose arguments are `first` and the words of `command`, with its variables.
fn around(script: &str, first: &[&Path], command: &Command) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-o", "pipefail", "-c", script, "bash"]);
    bash.args(first);
    bash.arg(command.get_program()).args(command.get_args());
    copy_variables(command, &mut bash);
    bash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_command_keeps_its_words_variables_and_status() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, "some bytes").unwrap();
        let mut wc = Command::new("sh");
        wc.args(["-c", "cat; echo \" $WORD\""])
            .env("WORD", "two words");
        let mut piped = around("cat \"$1\" | \"${@:2}\"", &[&file], &wc);
        assert_eq!(
            process::run(&mut piped).unwrap().ok().unwrap().text(),
            "some bytes two words"
        );
        let failing = with(Command::new("sh"), &["-c", "exit 3"], &[]);
        let mut piped = around("\"$@\" | cat > /dev/null", &[], &failing);
        assert!(process::run(&mut piped).unwrap().ok().is_err());
    }
}
