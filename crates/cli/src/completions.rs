//! `firn completions`

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::Cli;
use super::failure::{Stop, Verdict};
use super::locate::Context;

#[derive(Debug, Args)]
#[command(after_help = "\
bash: firn completions bash > ~/.local/share/bash-completion/completions/firn
zsh:  firn completions zsh > a file named _firn in a directory of $fpath
fish: firn completions fish > ~/.config/fish/completions/firn.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Known,
}

/// The shells that are tried out.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(&self, context: &mut Context) -> Result<Verdict, Stop> {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "firn", &mut script);
        context.out.bytes(&script)?;
        Ok(Verdict::Fine)
    }
}
