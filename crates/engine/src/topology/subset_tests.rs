use super::*;
use proptest::prelude::*;

/// Links of the eight cards of a DGX-1 with V100: one or two between some, none between others.
fn cube_mesh() -> Links {
    let mut rows = vec![vec![0; 8]; 8];
    let single = [(0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)];
    let double = [(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)];
    for (pairs, bandwidth) in [(single, 25), (double, 50)] {
        for (a, b) in pairs {
            rows[a][b] = bandwidth;
            rows[b][a] = bandwidth;
        }
    }
    Links::of_matrix(&rows, 0).unwrap()
}

fn pick(links: &Links, idle: &[bool], wish: (usize, Wish)) -> Option<Vec<usize>> {
    let left: Vec<Option<u64>> = idle.iter().map(|idle| idle.then_some(0)).collect();
    let numa: Vec<u16> = (0..16).map(|at| at / 4).collect();
    let spots = Spots { links, numa: &numa, rails: &[], left: &left, idle };
    choose(&spots, wish.0, &wish.1).map(|choice| choice.devices)
}

fn wish(count: usize, island: Together) -> (usize, Wish) {
    (count, Wish { island, ..Wish::default() })
}

#[test]
fn one_device_leaves_islands_whole() {
    let links = Links::of_islands(&[0, 0, 0, 0, 1, 1, 1, 1], 100, 10);
    let mut idle = [true; 8];
    assert_eq!(pick(&links, &idle, wish(1, Together::Any)), Some(vec![0]));
    idle[5] = false;
    assert_eq!(pick(&links, &idle, wish(1, Together::Any)), Some(vec![4]), "the broken island");
    assert_eq!(pick(&links, &idle, wish(4, Together::Required)), Some(vec![0, 1, 2, 3]));
}

#[test]
fn what_is_required_is_refused_rather_than_broken() {
    let links = Links::of_islands(&[0, 0, 1, 1], 100, 10);
    let idle = [true, false, true, false];
    assert_eq!(pick(&links, &idle, wish(2, Together::Required)), None);
    assert_eq!(pick(&links, &idle, wish(2, Together::Preferred)), Some(vec![0, 2]));
    let numa = (5, Wish { numa: Together::Required, ..Wish::default() });
    assert_eq!(pick(&Links::of_islands(&[0; 8], 1, 1), &[true; 8], numa), None);
}

#[test]
fn a_mesh_gives_its_best_joined_devices() {
    let links = cube_mesh();
    let pair = pick(&links, &[true; 8], wish(2, Together::Preferred)).unwrap();
    assert_eq!(links.within(&pair), 50);
    let four = pick(&links, &[true; 8], wish(4, Together::Preferred)).unwrap();
    assert_eq!(four, [0, 1, 2, 3], "a face of the cube has six links");
    assert_eq!(links.within(&four), 225);
}

#[test]
fn the_tightest_device_is_taken_when_nothing_else_tells() {
    let links = Links::of_islands(&[0, 1, 2], 0, 0);
    let left = [Some(5), Some(3), Some(3)];
    let spots = Spots { links: &links, numa: &[], rails: &[], left: &left, idle: &[false; 3] };
    let wish = Wish::default();
    assert_eq!(choose(&spots, 1, &wish).unwrap().devices, [1]);
    assert_eq!(choose(&spots, 0, &wish), None);
    assert_eq!(choose(&spots, 4, &wish), None);
}

#[test]
fn each_device_can_have_a_rail_of_its_own() {
    let links = Links::of_islands(&[0; 6], 100, 10);
    let rails = [0, 0, 1, 1, 2, 2];
    let left = [Some(0); 6];
    let spots = Spots { links: &links, numa: &[], rails: &rails, left: &left, idle: &[true; 6] };
    let pick = |count, rails| {
        choose(&spots, count, &Wish { rails, ..Wish::default() }).map(|choice| choice.devices)
    };
    assert_eq!(pick(3, Together::Required), Some(vec![0, 2, 4]));
    assert_eq!(pick(4, Together::Required), None);
    assert_eq!(pick(4, Together::Preferred), Some(vec![0, 1, 2, 4]));
    assert_eq!(pick(3, Together::Any), Some(vec![0, 1, 2]));
}

#[test]
fn a_large_node_is_served_by_islands() {
    let islands: Vec<u16> = (0..72).map(|at| at / 18).collect();
    let links = Links::of_islands(&islands, 100, 10);
    let mut idle = vec![true; 72];
    idle[..10].fill(false);
    let small = pick(&links, &idle, wish(8, Together::Required)).unwrap();
    assert_eq!(small, (10..18).collect::<Vec<_>>(), "the island that is broken already");
    assert_eq!(pick(&links, &idle, wish(18, Together::Required)).unwrap()[0], 18);
    assert_eq!(pick(&links, &idle, wish(19, Together::Required)), None);
    assert_eq!(pick(&links, &idle, wish(60, Together::Preferred)).unwrap().len(), 60);
}

/// The key of a choice, told from its devices alone.
fn key(spots: &Spots<'_>, wish: &Wish, devices: &[usize]) -> Option<(Key, Vec<Reverse<usize>>)> {
    let islands = different(devices.iter().map(|at| spots.links.island(*at)));
    let numas = different(devices.iter().map(|at| spots.numa[*at]));
    let rails = different(devices.iter().map(|at| spots.rails[*at]));
    if (wish.island == Together::Required && islands > 1)
        || (wish.numa == Together::Required && numas > 1)
        || (wish.rails == Together::Required && rails < devices.len())
    {
        return None;
    }
    let rest: Vec<usize> =
        (0..spots.links.devices()).filter(|at| spots.idle[*at] && !devices.contains(at)).collect();
    let left = devices.iter().map(|at| spots.left[*at]).sum::<Option<u64>>()?;
    let together = wish.island != Together::Any;
    let key = (
        Reverse(if together { islands } else { 0 }),
        if together { spots.links.within(devices) } else { 0 },
        Reverse(if wish.numa == Together::Any { 0 } else { numas }),
        if wish.rails == Together::Any { 0 } else { rails },
        spots.links.within(&rest),
        Reverse(left),
    );
    Some((key, devices.iter().map(|at| Reverse(*at)).collect()))
}

fn together() -> impl Strategy<Value = Together> {
    prop_oneof![Just(Together::Any), Just(Together::Preferred), Just(Together::Required)]
}

proptest! {
    #[test]
    fn no_choice_is_better(
        devices in 1_usize..9,
        links in prop::collection::vec(prop_oneof![Just(0_u32), Just(25), Just(50)], 64),
        switched in any::<bool>(),
        numa in prop::collection::vec(0_u16..3, 8), rails in prop::collection::vec(0_u16..4, 8),
        left in prop::collection::vec(prop::option::weighted(0.8, 0_u64..3), 8),
        idle in prop::collection::vec(any::<bool>(), 8),
        count in 1_usize..6, island in together(), on_numa in together(),
        on_rails in together(),
    ) {
        let links = if switched {
            let islands: Vec<u16> = links[..devices].iter().map(|l| u16::try_from(l / 25).unwrap()).collect();
            Links::of_islands(&islands, 50, 10)
        } else {
            let at = |a: usize, b: usize| links[a.min(b) * 8 + a.max(b)];
            let rows: Vec<Vec<u32>> =
                (0..devices).map(|a| (0..devices).map(|b| at(a, b)).collect()).collect();
            Links::of_matrix(&rows, 0).unwrap()
        };
        let spots = Spots { links: &links, numa: &numa, rails: &rails, left: &left, idle: &idle };
        let wish = Wish { island, numa: on_numa, rails: on_rails };
        let all = (0..1_usize << devices).map(|mask| {
            (0..devices).filter(|at| mask >> at & 1 == 1).collect::<Vec<_>>()
        });
        let best = all.filter(|devices| devices.len() == count)
            .filter_map(|devices| Some((key(&spots, &wish, &devices)?, devices)))
            .max();
        let got = choose(&spots, count, &wish);
        prop_assert_eq!(got.as_ref().map(|choice| &choice.devices), best.as_ref().map(|(_, d)| d));
        if let Some(choice) = got {
            let rest: Vec<usize> =
                (0..devices).filter(|at| idle[*at] && !choice.devices.contains(at)).collect();
            prop_assert_eq!(choice.kept, links.within(&rest));
            prop_assert_eq!(choice.bandwidth, links.within(&choice.devices));
        }
    }
}
