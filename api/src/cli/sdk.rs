use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use portal::sdk::{self, SdkLanguage};
use state::clock::Clock;

use crate::{config::Config, server::System};

/// Write an SDK: a client for every operation of the API
#[derive(Debug, Args)]
pub(super) struct Sdk {
    /// python, javascript, php or curl
    #[arg(long, value_parser = language)]
    lang: SdkLanguage,
    /// The folder to write to; it is made if it is not there
    #[arg(long)]
    out: PathBuf,
}

fn language(word: &str) -> Result<SdkLanguage, String> {
    word.parse().map_err(|_| {
        let known: Vec<_> = SdkLanguage::ALL.iter().map(|language| language.as_str()).collect();
        format!("known are {}", known.join(", "))
    })
}

impl Sdk {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // The contract is made from the routes of a system, so one is opened, in a folder that goes away.
        let folder = tempfile::tempdir().context("making a folder for a moment")?;
        let config = Config { dir: folder.path().to_owned(), ..Config::default() };
        let system = System::open(config, Clock::system(), std::env::current_exe()?).await?;
        let contract = system.contract();
        Box::pin(system.close()).await?;
        for file in sdk::files(&contract, self.lang)? {
            let path = self.out.join(file.path);
            let parent = path.parent().unwrap_or(&self.out);
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
            fs::write(&path, file.text).with_context(|| format!("writing {}", path.display()))?;
            #[cfg(unix)]
            if file.path.ends_with(".sh") {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(())
    }
}
