//! The harness itself: every planted defect is found, within the budget that the table of hunts gives it.

use std::process::Command;

#[test]
fn every_planted_defect_is_found() {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki-chaos"))
        .arg("defects")
        .output()
        .expect("kontiki-chaos runs");
    let words = String::from_utf8_lossy(&output.stdout);
    println!("{words}");
    assert!(output.status.success(), "{words}\n{}", String::from_utf8_lossy(&output.stderr));
}
