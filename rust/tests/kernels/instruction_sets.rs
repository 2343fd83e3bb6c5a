//! The kernels on every instruction set that the machine has: one is chosen for each process.

use std::env;
use std::process::Command;

use sd_rbee::instruction_set::{InstructionSet, VARIABLE};

/// This module's tests, which would start themselves.
const THIS: &str = "kernels::instruction_sets::";

fn own_tests(set: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.env(VARIABLE, set);
    command
}

#[test]
fn every_instruction_set_passes_the_tests_of_the_kernels() {
    let used = InstructionSet::best();
    for set in InstructionSet::all().into_iter().filter(|set| *set != used) {
        let tests = own_tests(set.name()).args(["kernels::", "--skip", THIS]).output().expect("the tests run");
        let text = String::from_utf8_lossy(&tests.stdout);
        assert!(tests.status.success(), "{}:\n{text}{}", set.name(), String::from_utf8_lossy(&tests.stderr));
        assert!(!text.contains("running 0 tests"), "{text}");
    }
}

/// Prints the set that the process uses, for the test below.
#[test]
fn the_set_in_use() {
    println!("in use: {}", InstructionSet::best().name());
    assert!(InstructionSet::all().contains(&InstructionSet::best()));
}

#[test]
fn the_variable_chooses_the_set() {
    let all = InstructionSet::all();
    let widest = all.last().expect("one at least").name();
    for (given, want) in all.iter().map(|set| (set.name(), set.name())).chain([("", widest)]) {
        let name = format!("{THIS}the_set_in_use");
        let output = own_tests(given).args(["--exact", &name, "--nocapture"]).output().expect("the test runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("in use: {want}\n")), "{given:?}: {text}");
    }
}
