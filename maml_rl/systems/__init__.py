"""Systems: each module is one paper's configuration and wiring, under the contract of `maml_rl.systems.system`."""
