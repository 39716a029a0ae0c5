use super::*;
use polder_model::{Address, Api, Bytes, Health, Mechanism};

const T4: &str = "model = 'T4'\nvendor = 'NVIDIA'\n";

/// One `[[device]]` of 16 GiB with `more` below it.
fn one_device(more: &str) -> String {
    format!("[[device]]\n{T4}memory = '16GiB'\ncompute_units = 40\n{more}")
}

/// The text is refused, and the message holds all of `words`.
fn check_refused(text: &str, words: &[&str]) {
    let error = parse_simulated(Path::new("rack.toml"), text).unwrap_err().to_string();
    for word in ["rack.toml"].iter().chain(words) {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn the_example_is_what_it_says() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rack.toml"));
    let devices = read_simulated(path).unwrap().devices;
    let lines: Vec<String> = devices
        .iter()
        .map(|device| {
            let health = if device.health == Health::Healthy { "" } else { " faulty" };
            let units = device.compute_units;
            format!("{} {} {} {units}{health}", device.id, device.model, device.memory)
        })
        .collect();
    let a100 = (0..4).map(|i| format!("sim-{i} NVIDIA A100-SXM4-80GB 80 GiB 108"));
    let h100 = (4..12).map(|i| format!("sim-{i} NVIDIA H100 80GB HBM3 80 GiB 132"));
    let t4 = ["sim-12 Tesla T4 15 GiB 40", "sim-13 Tesla T4 15 GiB 40 faulty"];
    let expect: Vec<String> = a100.chain(h100).chain(t4.map(str::to_owned)).collect();
    assert_eq!(lines, expect);
}

#[test]
fn every_device_says_that_it_is_not_there() {
    let devices = parse_simulated(Path::new("x"), &one_device("count = 3")).unwrap().devices;
    assert_eq!(devices.len(), 3);
    for device in devices {
        assert!(device.simulated);
        assert_eq!((device.api, &device.address), (Api::Simulated, &Address::Simulated));
        assert_eq!(device.mechanisms, [Mechanism::TimeSlice, Mechanism::Whole]);
        assert_eq!(device.granularity, Bytes(64 << 10));
    }
}

#[test]
fn islands_and_rails_count_on() {
    let text = one_device("count = 4\nisland = 2\nisland_size = 2\nrail = 1\nnuma_node = 1\n");
    let text = format!("{text}mechanisms = ['mig', 'whole']\n{}", one_device("island = 9"));
    let devices = parse_simulated(Path::new("x"), &text).unwrap().devices;
    let lies: Vec<_> = devices.iter().map(|d| (d.island, d.rail, d.numa_node)).collect();
    let on = |island, rail| (Some(island), Some(rail), Some(1));
    let alone = (Some(9), None, None);
    assert_eq!(lies, [on(2, 1), on(2, 2), on(3, 3), on(3, 4), alone]);
    assert_eq!(devices[0].mechanisms, [Mechanism::Mig, Mechanism::Whole]);
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    check_refused(&one_device("colour = 'red'"), &["colour", "line 6"]);
    check_refused("[[devices]]\n", &["devices", "line 1"]);
}

#[test]
fn absent_keys_are_named() {
    check_refused("[[device]]\nmodel = 'T4'\n", &["memory", "line 1"]);
    for text in ["", "# nothing yet\n", "device = []"] {
        check_refused(text, &["names no device", "write a [[device]] for each model"]);
    }
}

#[test]
fn sizes_out_of_range_are_refused_with_their_line() {
    let memory =
        |size: &str| format!("[[device]]\n{T4}memory = {size}\ncompute_units = 1\ncount = 1");
    check_refused(&memory("'0'"), &["line 4", "1 B"]);
    check_refused(&memory("'-1GiB'"), &["line 4"]);
    check_refused(&memory("'16G'"), &["line 4", "16GiB"]);
    check_refused(&memory("'9000PiB'"), &["line 4", "1 PiB"]);
    check_refused(&memory("80"), &["line 4", "string"]);
}

#[test]
fn absurd_counts_are_refused_with_their_line() {
    for count in ["0", "-1", "1025", "4294967296", "9223372036854775807"] {
        check_refused(&one_device(&format!("count = {count}")), &["line 6", "1 to 1024"]);
    }
    let twice = format!("{0}{0}", one_device("count = 600\n"));
    check_refused(&twice, &["more than 1024 devices"]);
}

#[test]
fn what_does_not_hold_together_is_refused() {
    check_refused(&one_device("allocation_max = '17GiB'"), &["allocation_max", "line 1"]);
    check_refused(&one_device("granularity = '17GiB'"), &["granularity"]);
    check_refused(&one_device("mechanisms = []"), &["mechanisms"]);
    check_refused(&one_device("island_size = 2"), &["island_size", "without island"]);
    check_refused(&one_device("island = 0\nisland_size = 0"), &["island_size", "line 7"]);
    check_refused(&one_device("mechanisms = ['vgpu']"), &["vgpu", "line 6"]);
    check_refused(&one_device("features = ['FP64']"), &["FP64", "line 6"]);
    check_refused(&one_device("pci_address = 'slot 3'"), &["slot 3", "line 6"]);
    check_refused(&one_device("count = 2\npci_address = '3b:00.0'"), &["pci_address"]);
    let address = one_device("pci_address = '3b:00.0'\n");
    check_refused(&format!("{address}{address}"), &["two devices", "0000:3b:00.0"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = read_simulated(Path::new("/nonexistent/rack.toml")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/rack.toml"), "{error}");
    let long = tempfile::NamedTempFile::new().unwrap();
    long.as_file().set_len(SIMULATE_FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(read_simulated(long.path()), Err(SimulateError::TooLong { .. })));
}

#[test]
fn a_file_says_where_the_node_belongs() {
    let words = "partitions = ['train']\nlabels = ['rack=a', 'block=b1']\n";
    let text = format!("{words}{}", one_device(""));
    let words = parse_simulated(Path::new("x"), &text).unwrap().words;
    let partitions: Vec<&str> = words.partitions().iter().map(String::as_str).collect();
    let labels: Vec<&str> = words.labels().iter().map(String::as_str).collect();
    assert_eq!((&partitions[..], &labels[..]), (&["train"][..], &["block=b1", "rack=a"][..]));
    let refused = |line: &str, words: &[&str]| {
        check_refused(&format!("\n{line}\n{}", one_device("")), words);
    };
    refused("partitions = ['']", &["no partition", "line 2"]);
    refused("labels = ['rack']", &["\"rack\" is no label", "line 2"]);
    refused("labels = ['rack=a', 'rack=b']", &["\"rack=a\" and \"rack=b\"", "line 2"]);
}
