//! Clerks among very many others.

use skv_fake::{Fake, Fate};

use crate::{TRANSPORTS, clerk};

#[tokio::test]
async fn a_clerk_works_without_a_watch_when_others_have_all_of_them() {
    for transport in TRANSPORTS {
        let mut fake = Fake::groups(&[1, 1], &[0, 0]);
        fake.refuse_watches();
        let clerk = clerk(&fake, transport);
        clerk.put("k", "v").await.unwrap();
        assert_eq!(fake.seen()[0].server, 0);

        // Nobody tells it of a newer map, but the server that it asks does.
        let mut map = fake.map();
        map.revision = 2;
        map.ranges.iter_mut().for_each(|range| (range.group, range.epoch) = (1, 2));
        fake.publish(map);
        let moved =
            Fate::Refuse(skv_proto::Error::WrongGroup { group: skv_sharding::GroupId(0), owner: None });
        fake.rule(move |seen| if seen.server == 0 { moved.clone() } else { Fate::Serve });
        clerk.put("k", "w").await.unwrap();
        assert_eq!(fake.value(b"k"), b"w");
    }
}
