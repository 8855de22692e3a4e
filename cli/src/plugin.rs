//! The command line of `kubectl skv`: that of `skv`, for people who think of stores in Kubernetes.

use crate::name::Name;

/// The commands about stores of this machine, which the help passes over.
const OF_THIS_MACHINE: [&str; 6] = ["up", "apply", "down", "stores", "use", "env"];

const AFTER_HELP: &str = "\
Without --store a command is about the only store of the namespace. It reaches the store through the API server, as \
`kubectl port-forward` does: you need the rights to list pods and to make pods/portforward.

Exit codes: 0 done, 1 failed, 2 no such key, 3 the condition of --if-revision failed, 4 not known yet.

Environment:
  KUBECONFIG   the files of your clusters [default: ~/.kube/config]
  SKV_LOG      what is logged to standard error [default: warn]
  NO_COLOR     no colours

Examples:
  kubectl skv status
  kubectl skv status -n prod --store kv
  kubectl skv logs g0 -f
  kubectl skv top --watch
  kubectl skv get greeting
  kubectl skv diag
";

/// Returns the command line with the names, the options and the texts of the plugin.
pub(crate) fn dressed(command: clap::Command) -> clap::Command {
    let name = Name::KubectlSkv.text();
    let mut command = named(command)
        .name("kubectl-skv")
        .bin_name(name)
        .display_name(name)
        .after_help(AFTER_HELP)
        .mut_arg("namespace", |namespace| namespace.short('n'))
        .mut_arg("store", |store| {
            store.hide_env(true).help(
                "The store, by the name of its resource; elsewhere by that on this machine [default: the only one]",
            )
        })
        .mut_subcommand("logs", |logs| {
            // kubectl has -n for the namespace.
            logs.mut_arg("lines", |lines| lines.short(None::<char>))
        });
    for of_this_machine in OF_THIS_MACHINE {
        command = command.mut_subcommand(of_this_machine, |command| command.hide(true));
    }
    command
}

/// Returns a command whose texts, and those of its own commands, name the plugin.
fn named(mut command: clap::Command) -> clap::Command {
    let in_text = |text: Option<&clap::builder::StyledStr>| {
        text.map(|text| Name::KubectlSkv.in_text(&text.to_string()))
    };
    let (about, long_about) = (in_text(command.get_about()), in_text(command.get_long_about()));
    let after_help = in_text(command.get_after_help());
    if let Some(about) = about {
        command = command.about(about);
    }
    if let Some(long_about) = long_about {
        command = command.long_about(long_about);
    }
    if let Some(after_help) = after_help {
        command = command.after_help(after_help);
    }
    command.mut_subcommands(named)
}
