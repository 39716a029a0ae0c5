//! Device memory: held to the byte, given back when the driver lets go.

mod support;

use support::{Lease, OCLGRIND, Talk, driver, example, missing, pocl};

const CAP: u64 = 1_000_003;

#[test]
fn the_cap_is_exact_to_the_byte() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("cap", usize::try_from(CAP).unwrap());
    program.expect("past -4");
    program.expect("past again -4");
    program.end();
    // All but one buffer were released; the rest goes with the slot.
    assert_eq!(lease.held(0), CAP / 4);
    assert_eq!(lease.usage().slot[0].refused.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn what_the_driver_refuses_is_rolled_back() {
    let Some(lease) = Lease::pocl(1 << 50) else { return };
    let said = lease.probe("failing", 0).end();
    assert_eq!(said, ["too large -61", "nothing -61", "no host memory -37"]);
    assert_eq!(lease.held(0), 0);
}

#[test]
fn a_size_beyond_the_largest_buffer_is_a_wrong_size_whatever_is_free() {
    let Some(lease) = Lease::pocl(1 << 20) else { return };
    let wrong = format!("wrong sizes {:?}", [-61; 5]);
    assert_eq!(lease.probe("oversized", 0).end(), [&wrong, "no room -4", &wrong]);
    assert_eq!(lease.held(0), 0);
}

#[test]
fn views_are_free_and_a_buffer_is_held_until_its_last_user_is_gone() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("views", 0);
    program.expect("the part holds it");
    assert_eq!(lease.held(0), 8192);
    program.go();
    program.expect("another");
    assert_eq!(lease.held(0), 512);
    program.go();
    program.end();
    assert_eq!(lease.held(0), 0);
}

#[test]
fn images_of_every_kind_are_held_at_the_size_the_driver_says() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("images", usize::try_from(CAP).unwrap());
    for kind in ["1d", "1d array", "2d", "2d array", "3d"] {
        let line = program.line();
        let size = line.strip_prefix(kind).unwrap().trim();
        assert_eq!(size.parse(), Ok(lease.held(0)), "{line}");
        program.go();
    }
    program.expect("past -4");
    program.end();
    assert_eq!(lease.held(0), 0);
}

#[test]
fn shared_virtual_memory_is_held_and_freed_by_call_and_by_command() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    match lease.probe("svm", usize::try_from(CAP).unwrap()).end().as_slice() {
        [one] if one == "unsupported" => support::skipped("the driver has no SVM"),
        said => assert_eq!((said, lease.held(0)), (&["freed".to_owned()][..], 0)),
    }
}

#[test]
fn a_buffer_over_shared_virtual_memory_is_the_same_memory() {
    let Some(lease) = Lease::pocl(1 << 20) else { return };
    let mut program = lease.probe("svm-views", 1 << 20);
    match program.line().as_str() {
        "unsupported" => return support::skipped("the driver has no SVM"),
        said => assert_eq!(said, "beyond -4"),
    }
    program.expect("over it");
    assert_eq!(lease.held(0), 1 << 20);
    program.go();
    program.expect("freed");
    program.end();
    assert_eq!(lease.held(0), 0);
}

#[test]
fn shared_virtual_memory_that_the_program_frees_in_a_queue_is_given_back() {
    let Some(lease) = Lease::pocl(1 << 20) else { return };
    match lease.probe("svm-own", 1 << 20).end().as_slice() {
        [one] if one == "unsupported" => support::skipped("the driver has no SVM"),
        // The program allocates as much again in the end.
        said => assert_eq!((said, lease.held(0)), (&["freed".to_owned()][..], 1 << 20)),
    }
}

#[test]
fn an_image_that_falsely_names_a_buffer_is_held() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("false-view", 0);
    let said = program.line();
    let Some(bytes) = said.strip_prefix("made ") else {
        return assert!(said.starts_with("refused"), "{said}");
    };
    assert_eq!(bytes.parse(), Ok(lease.held(0)));
    program.go();
    program.end();
}

#[test]
fn parts_of_the_device_are_the_leases_device() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("parts", usize::try_from(CAP).unwrap());
    let said = program.line();
    if said.starts_with("unsupported") {
        return support::skipped(&format!("the device cannot be divided: {said}"));
    }
    assert_eq!(said, format!("memory {{{CAP}}}"));
    program.expect("past -4");
    assert_eq!(lease.held(0), CAP);
    lease.close();
    program.go();
    lease.until("the launch on a part waits for a turn", |census| census.waiting == 1);
    lease.open();
    program.expect("done");
    program.end();
}

#[test]
fn a_lease_that_is_resized_is_seen_and_held_at_once() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("resized", 0);
    for bytes in [CAP, 2 * CAP, CAP / 2] {
        if bytes != CAP {
            lease.set_memory(bytes);
            program.go();
        }
        program.expect(&format!("{bytes} {bytes} true false"));
    }
}

#[test]
fn who_only_allocates_is_held_by_the_page_of_a_new_agent() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("resized", 0);
    program.expect(&format!("{CAP} {CAP} true false"));
    lease.agent_dies();
    lease.agent_returns(CAP / 4);
    program.go();
    // It asks how much there is before it allocates.
    program.expect(&format!("{CAP} {CAP} false false"));
    program.go();
    program.expect(&format!("{0} {0} true false", CAP / 4));
}

#[test]
fn a_pipe_is_held() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut program = lease.probe("pipes", 0);
    let said = program.line();
    if said.starts_with("unsupported") {
        support::skipped(&format!("pipes are {said}"));
        assert_eq!(lease.held(0), 0);
    } else {
        assert!(lease.held(0) >= 16 * 64);
        program.go();
        program.end();
        assert_eq!(lease.held(0), 0);
    }
}

#[test]
fn a_driver_that_the_loader_finds_twice_is_capped_both_times() {
    let Some(pocl) = pocl() else { return };
    let Some(lease) = Lease::pocl(CAP) else { return };
    lease.also_vendor(pocl.0);
    let said = lease.probe("everywhere", usize::try_from(CAP).unwrap() + 1).end();
    assert!(!said.is_empty());
    for line in said {
        assert_eq!(line, format!("{} Err(-61)", pocl.1));
    }
}

#[test]
fn two_vendors_in_one_process_have_a_cap_each() {
    let Some(pocl) = pocl() else { return };
    if missing(OCLGRIND.0, "oclgrind") {
        return;
    }
    let lease = Lease::new(&[(pocl, 0, CAP), (OCLGRIND, 0, 500)]);
    let mut said = lease.probe("everywhere", 600).end();
    said.sort();
    assert_eq!(said, [format!("{} Err(-61)", OCLGRIND.1), format!("{} Ok(())", pocl.1)]);
    assert_eq!((lease.held(0), lease.held(1)), (600, 0));
}

#[test]
fn an_object_is_held_on_every_device_of_its_context() {
    let Some(pocl) = pocl() else { return };
    let lease = Lease::new(&[(pocl, 0, CAP), (pocl, 1, CAP / 2)]);
    let shared = |bytes: u64| {
        let mut command = lease.command(example("probe"));
        command.args(["shared", &bytes.to_string()]).env("POCL_DEVICES", "pthread pthread");
        Talk::start(&mut command).end()
    };
    assert_eq!(shared(CAP / 2), ["Ok(())"]);
    assert_eq!((lease.held(0), lease.held(1)), (CAP / 2, CAP / 2));
    assert_eq!(shared(1), ["Err(-4)"]);
    assert_eq!((lease.held(0), lease.held(1)), (CAP / 2, CAP / 2));
}

#[test]
fn a_loader_inside_the_program_is_capped_too() {
    let Some(lease) = Lease::pocl(CAP) else { return };
    let mut command = lease.command(example("probe"));
    command.args(["direct", &CAP.to_string()]).env("DRIVER", driver());
    assert_eq!(Talk::start(&mut command).end(), ["past -4"]);
}
