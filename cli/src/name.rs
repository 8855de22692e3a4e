//! The name under which this program was called: `skv`, or `kubectl skv` as a plugin of kubectl.

use std::ffi::OsStr;
use std::path::Path;

/// The file name by which kubectl finds the plugin `skv`.
const PLUGIN: &str = "kubectl-skv";
/// The name in texts, and the one that kubectl gives it.
const SKV: &str = "skv";
const KUBECTL_SKV: &str = "kubectl skv";

/// A name of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Skv,
    /// A plugin of kubectl: its commands are about stores in Kubernetes unless they name another one.
    KubectlSkv,
}

impl Name {
    /// Returns the name of the running program.
    pub(crate) fn current() -> Name {
        std::env::args_os().next().map_or(Name::Skv, |program| Name::of(&program))
    }

    /// Returns the name for which a program's path stands.
    pub(crate) fn of(program: &OsStr) -> Name {
        if Path::new(program).file_stem() == Some(OsStr::new(PLUGIN)) { Name::KubectlSkv } else { Name::Skv }
    }

    /// Returns it as people type it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Skv => SKV,
            Name::KubectlSkv => KUBECTL_SKV,
        }
    }

    /// Returns a help text, which names the program `skv`, with this name.
    pub(crate) fn in_text(self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(SKV) {
            let (before, after) = (&rest[..at], &rest[at + SKV.len()..]);
            named.push_str(before);
            let begins =
                !before.ends_with(|letter: char| letter.is_alphanumeric() || "-_./".contains(letter));
            named.push_str(if begins && after.starts_with(' ') { self.text() } else { SKV });
            rest = after;
        }
        named + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(program: &str) -> Name {
        Name::of(OsStr::new(program))
    }

    #[test]
    fn kubectl_finds_its_plugin_by_the_file_name() {
        assert_eq!(of("/usr/local/bin/kubectl-skv"), Name::KubectlSkv);
        assert_eq!(of("kubectl-skv.exe"), Name::KubectlSkv);
        for other in ["skv", "/opt/kubectl-skv/skv", "skv-kubectl", ""] {
            assert_eq!(of(other), Name::Skv, "{other}");
        }
    }

    #[test]
    fn a_help_text_names_the_program_as_it_was_called() {
        let text =
            "  skv get greeting\n`skv up` makes stores; skv-operator, SKV_HOME and skv: stay.\n  my/skv get";
        assert_eq!(Name::Skv.in_text(text), text);
        assert_eq!(
            Name::KubectlSkv.in_text(text),
            "  kubectl skv get greeting\n`kubectl skv up` makes stores; skv-operator, SKV_HOME and skv: stay.\n  \
             my/skv get"
        );
    }
}
