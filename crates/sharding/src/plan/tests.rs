//! The promises of a plan, against all possible assignments where those are few.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ShardSet;

/// Groups that left, and that still own shards.
const GONE: [GroupId; 2] = [GroupId(70), GroupId(0)];

/// A layout that owns its parts.
#[derive(Debug, Clone)]
struct Case {
    groups: Vec<GroupId>,
    owners: Vec<Option<GroupId>>,
    pins: BTreeMap<ShardId, GroupId>,
}

impl Case {
    fn new(groups: &[u32], owners: Vec<Option<GroupId>>) -> Self {
        Case { groups: ids(groups), owners, pins: BTreeMap::new() }
    }

    fn pin(mut self, shard: u32, group: u32) -> Self {
        self.pins.insert(ShardId(shard), GroupId(group));
        self
    }

    fn plan(&self, policy: Policy) -> Result<Vec<GroupId>, PlanError> {
        plan(policy, Layout { groups: &self.groups, owners: &self.owners, pins: &self.pins })
    }

    fn minimal(&self) -> Vec<GroupId> {
        self.plan(Policy::Minimal).unwrap()
    }

    fn loads(&self, assigned: &[GroupId]) -> Vec<usize> {
        self.groups.iter().map(|group| assigned.iter().filter(|a| *a == group).count()).collect()
    }

    /// Returns the loads from the fullest group to the emptiest. The most even loads are the least of
    /// these.
    fn descending_loads(&self, assigned: &[GroupId]) -> Vec<usize> {
        let mut loads = self.loads(assigned);
        loads.sort_unstable_by(|a, b| b.cmp(a));
        loads
    }

    fn moves(&self, assigned: &[GroupId]) -> usize {
        self.owners
            .iter()
            .zip(assigned)
            .filter(|(owner, to)| owner.is_some_and(|owner| owner != **to))
            .count()
    }

    fn obeys_pins(&self, assigned: &[GroupId]) -> bool {
        self.pins.iter().all(|(shard, group)| assigned[shard.0 as usize] == *group)
    }

    /// Returns all assignments of the shards to the groups.
    fn assignments(&self) -> impl Iterator<Item = Vec<GroupId>> + '_ {
        let (groups, shards) = (self.groups.len(), self.owners.len() as u32);
        (0..groups.pow(shards)).map(move |number| {
            (0..shards).map(|shard| self.groups[number / groups.pow(shard) % groups]).collect()
        })
    }
}

fn ids(groups: &[u32]) -> Vec<GroupId> {
    groups.iter().copied().map(GroupId).collect()
}

fn owned_by(owners: &[GroupId]) -> Vec<Option<GroupId>> {
    owners.iter().copied().map(Some).collect()
}

/// Generates any groups in any order, any owners among groups that exist and that left, any pins: few or
/// many, to all groups or to few.
fn anything(shards: usize, groups: usize) -> impl Strategy<Value = Case> {
    let names = Just((1..=groups as u32).collect::<Vec<_>>()).prop_shuffle();
    let sizes = (1..=groups, 0..=shards, 1..=groups, 0.0..1.0);
    (names, sizes).prop_flat_map(|(names, (groups, shards, pinnable, share))| {
        let groups = ids(&names[..groups]);
        let pinnable = groups[..pinnable.min(groups.len())].to_vec();
        let mut places: Vec<Option<GroupId>> = groups.iter().chain(&GONE).copied().map(Some).collect();
        places.push(None);
        let owners = proptest::collection::vec(proptest::sample::select(places), shards);
        let pin = proptest::option::weighted(share, proptest::sample::select(pinnable));
        let pins = proptest::collection::vec(pin, shards).prop_map(|pins| {
            (0..).map(ShardId).zip(pins).filter_map(|(shard, group)| Some((shard, group?))).collect()
        });
        (Just(groups), owners, pins).prop_map(|(groups, owners, pins)| Case { groups, owners, pins })
    })
}

/// Generates even loads without pins, in any order of the shards.
fn balanced() -> impl Strategy<Value = Case> {
    let names = Just((1..=9).collect::<Vec<u32>>()).prop_shuffle();
    (names.clone(), names, 1usize..=9, 0usize..80).prop_flat_map(|(order, fullest, groups, shards)| {
        let order: Vec<GroupId> = ids(&order).into_iter().filter(|g| g.0 as usize <= groups).collect();
        let fullest = ids(&fullest).into_iter().filter(move |g| g.0 as usize <= groups);
        let owners: Vec<GroupId> = fullest.cycle().take(shards).collect();
        Just(owners).prop_shuffle().prop_map(move |owners| Case {
            groups: order.clone(),
            owners: owned_by(&owners),
            pins: BTreeMap::new(),
        })
    })
}

proptest! {
    // Cases are cheap, and defects with pins show in few of them.
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_assignment_is_more_even_and_none_as_even_has_fewer_moves(case in anything(6, 4)) {
        let planned = case.minimal();
        prop_assert!(case.obeys_pins(&planned));
        let judged = |assigned: &[GroupId]| (case.descending_loads(assigned), case.moves(assigned));
        let best = case.assignments().filter(|all| case.obeys_pins(all)).map(|one| judged(&one)).min();
        prop_assert_eq!(Some(judged(&planned)), best);
    }

    #[test]
    fn loads_are_those_of_water_poured_onto_the_pins(case in anything(300, 12)) {
        let pinned: Vec<GroupId> = case.pins.values().copied().collect();
        let mut poured = case.loads(&pinned);
        for _ in pinned.len()..case.owners.len() {
            *poured.iter_mut().min().unwrap() += 1;
        }
        poured.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert_eq!(case.descending_loads(&case.minimal()), poured);
    }

    #[test]
    fn planning_again_moves_nothing(case in anything(60, 9)) {
        for policy in [Policy::Minimal, Policy::Modulo] {
            let Ok(planned) = case.plan(policy) else { continue };
            let again = Case { owners: owned_by(&planned), ..case.clone() };
            prop_assert_eq!(again.plan(policy), Ok(planned));
        }
    }

    #[test]
    fn groups_that_join_take_shards_and_no_others_do(case in balanced(), joining in 1u32..4) {
        let joining: Vec<GroupId> = (100..100 + joining).map(GroupId).collect();
        let grown = Case { groups: [&case.groups[..], &joining].concat(), ..case };
        for (owner, planned) in grown.owners.iter().zip(grown.minimal()) {
            prop_assert!(*owner == Some(planned) || joining.contains(&planned), "{owner:?} -> {planned}");
        }
    }

    #[test]
    fn groups_that_leave_give_shards_and_no_others_do((case, staying) in balanced().prop_flat_map(|case| {
        let staying = proptest::sample::subsequence(case.groups.clone(), 1..=case.groups.len());
        (Just(case), staying)
    })) {
        let shrunk = Case { groups: staying, ..case };
        for (owner, planned) in shrunk.owners.iter().zip(shrunk.minimal()) {
            let stays = owner.is_some_and(|owner| shrunk.groups.contains(&owner));
            prop_assert!(!stays || *owner == Some(planned), "{owner:?} -> {planned}");
        }
    }

    #[test]
    fn from_nothing_shards_are_dealt_round_robin(shards in 0usize..500, groups in 1u32..40) {
        let groups: Vec<u32> = (0..groups).rev().collect();
        let expected: Vec<GroupId> = ids(&groups).into_iter().cycle().take(shards).collect();
        prop_assert_eq!(Case::new(&groups, vec![None; shards]).minimal(), expected);
    }

    #[test]
    fn the_order_of_groups_counts_and_their_names_do_not(case in anything(40, 6)) {
        let renamed = |group: GroupId| GroupId(1000 - group.0);
        let other = Case {
            groups: case.groups.iter().copied().map(renamed).collect(),
            owners: case.owners.iter().map(|owner| owner.map(renamed)).collect(),
            pins: case.pins.iter().map(|(&shard, &group)| (shard, renamed(group))).collect(),
        };
        let expected: Vec<GroupId> = case.minimal().into_iter().map(renamed).collect();
        prop_assert_eq!(other.minimal(), expected);
    }

    #[test]
    fn modulo_puts_shard_i_on_group_i_mod_g_unless_it_is_pinned(case in anything(24, 4)) {
        let (shards, groups) = (case.owners.len(), case.groups.len());
        let expected = (0..shards as u32).map(|shard| {
            let pin = case.pins.get(&ShardId(shard)).copied();
            pin.unwrap_or(case.groups[shard as usize % groups])
        });
        let refused = PlanError::Indivisible { shards: shards as u32, groups: groups as u32 };
        let expected = if shards % groups == 0 { Ok(expected.collect()) } else { Err(refused) };
        prop_assert_eq!(case.plan(Policy::Modulo), expected);
    }
}

#[test]
fn what_moves_is_what_it_always_was() {
    let planned = |case: &Case| case.minimal().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let owners = owned_by(&Case::new(&[1, 2], vec![None; 10]).minimal());
    assert_eq!(planned(&Case::new(&[1, 2, 0], owners.clone())), "g1 g2 g1 g2 g1 g2 g1 g0 g0 g0");
    assert_eq!(planned(&Case::new(&[1, 2, 0], owners.clone()).pin(0, 0)), "g0 g2 g1 g2 g1 g2 g1 g0 g1 g0");
    assert_eq!(planned(&Case::new(&[2, 3, 4], owners)), "g3 g2 g4 g2 g3 g2 g4 g2 g3 g4");
}

#[test]
fn pins_may_make_a_group_fuller_than_the_others() {
    let owners = owned_by(&ids(&[0, 0, 0, 0, 0, 1, 1, 2]));
    let case = (0..5).fold(Case::new(&[0, 1, 2], owners), |case, shard| case.pin(shard, 0));
    assert_eq!(case.loads(&case.minimal()), [5, 2, 1]);
    assert_eq!(case.moves(&case.minimal()), 0);
}

/// The reason why the lowest numbers stay.
#[test]
fn what_groups_own_stays_short_to_write_while_a_dozen_joins_one_by_one() {
    let mut owners = vec![None; 10_000];
    for groups in 1..=12 {
        let groups: Vec<u32> = (0..groups).collect();
        owners = owned_by(&Case::new(&groups, owners).minimal());
    }
    let owned = |group| (0..).map(ShardId).zip(&owners).filter(move |(_, owner)| **owner == Some(group));
    let sets = (0..12).map(|group| owned(GroupId(group)).map(|(shard, _)| shard).collect::<ShardSet>());
    let bytes: usize = sets.map(|set| set.to_string().len()).sum();
    assert!(bytes < 1_000, "{bytes} bytes; in no order it would be 48,000");
}

#[test]
fn no_shards_need_no_groups() {
    for policy in [Policy::Minimal, Policy::Modulo] {
        assert_eq!(Case::new(&[], Vec::new()).plan(policy), Ok(Vec::new()));
        assert_eq!(Case::new(&[1, 2], Vec::new()).plan(policy), Ok(Vec::new()));
    }
}

#[test]
fn what_cannot_be_planned_is_refused_with_what_to_do() {
    let ten = || vec![None; 10];
    let refused = |case: Case| {
        let errors: BTreeSet<String> =
            [Policy::Minimal, Policy::Modulo].map(|policy| case.plan(policy).unwrap_err().to_string()).into();
        errors.into_iter().collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        refused(Case::new(&[], ten())),
        "no group is left to take the 10 shards: add a group, or keep one that is to be removed"
    );
    assert_eq!(
        refused(Case::new(&[1, 2, 1, 3, 4], ten())),
        "g1 is listed more than once among the groups that share the shards: list it once"
    );
    assert_eq!(
        refused(Case::new(&[1, 2], ten()).pin(10, 1)),
        "shard 10 is pinned to g1, but there are 10 shards, counted from 0: remove the pin"
    );
    assert_eq!(
        refused(Case::new(&[1, 2], ten()).pin(9, 3)),
        "shard 9 is pinned to g3, which isn't among the groups that share the shards: \
         remove the pin, change its group, or add g3 (or keep it)"
    );
}

#[test]
fn modulo_names_the_numbers_of_groups_that_it_can_take() {
    let refused = |groups: u32, shards: usize| {
        let groups: Vec<u32> = (0..groups).collect();
        Case::new(&groups, vec![None; shards]).plan(Policy::Modulo).unwrap_err().to_string()
    };
    assert_eq!(
        refused(7, 240),
        "policy modulo needs a number of groups that divides the 240 shards, and 7 doesn't: \
         have 6 or 8, or use policy minimal"
    );
    assert!(refused(12, 10).contains("have 10, or"));
}

#[test]
fn a_policy_has_one_name_everywhere() {
    for policy in [Policy::Minimal, Policy::Modulo] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
        assert_eq!(serde_json::to_value(policy).unwrap(), policy.to_string());
    }
    let error = "even".parse::<Policy>().unwrap_err().to_string();
    assert_eq!(error, "\"even\" is no policy: there are minimal and modulo");
}

/// The assignment on which a ring is built.
#[test]
fn of_as_many_groups_as_shards_each_gets_the_shard_of_its_number() {
    let groups: Vec<u32> = (0..9).collect();
    let case = Case::new(&groups, vec![None; 9]);
    for policy in [Policy::Minimal, Policy::Modulo] {
        assert_eq!(case.plan(policy), Ok(ids(&groups)), "{policy}");
    }
}
