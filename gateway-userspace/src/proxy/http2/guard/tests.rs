use proptest::prelude::*;

use super::*;

fn frame(kind: Kind, stream: u32, length: u32) -> Frame {
    Frame { kind, stream, length, ends_stream: false, ends_headers: true }
}

fn guard() -> Guard {
    Guard::new(&Limits::default())
}

/// How many times `round` goes well, of `max`.
fn rounds(max: u32, mut round: impl FnMut(u32) -> Result<(), Flood>) -> (u32, Option<Flood>) {
    for index in 0..max {
        if let Err(flood) = round(index) {
            return (index, Some(flood));
        }
    }
    (max, None)
}

#[test]
fn each_control_frame_is_cut_at_a_thousand() {
    for kind in [Kind::Ping, Kind::Settings, Kind::WindowUpdate, Kind::Other, Kind::Reset(8), Kind::Data] {
        let mut guard = guard();
        let cut = rounds(5000, |_| guard.received(&frame(kind, 0, 0)));
        assert_eq!(cut, (1000, Some(Flood::ControlFrames)), "{kind:?}");
    }
}

#[test]
fn a_thousand_frames_at_ten_a_second_are_none_too_many() {
    let mut guard = guard();
    let cut = rounds(20_000, |index| {
        guard.tick(Duration::from_millis(100) * index);
        guard.received(&frame(Kind::Ping, 0, 8))
    });
    assert_eq!(cut, (20_000, None));
}

#[test]
fn rapid_resets_are_cut_before_two_hundred_streams() {
    let mut guard = guard();
    let cut = rounds(20_000, |index| {
        guard.received(&frame(Kind::Headers, 2 * index + 1, 20))?;
        guard.received(&frame(Kind::Reset(8), 2 * index + 1, 4))
    });
    assert_eq!(cut, (100, Some(Flood::Resets)));
}

#[test]
fn resets_that_we_are_made_to_send_are_cut_before_two_hundred_streams() {
    let mut guard = guard();
    let cut = rounds(20_000, |index| {
        guard.received(&frame(Kind::Headers, 2 * index + 1, 20))?;
        guard.received(&frame(Kind::WindowUpdate, 2 * index + 1, 4))?;
        guard.sent(&frame(Kind::Headers, 2 * index + 1, 20))?;
        guard.sent(&frame(Kind::Reset(1), 2 * index + 1, 4))
    });
    assert_eq!(cut, (100, Some(Flood::Errors)));
}

#[test]
fn who_gives_up_every_second_request_or_ends_streams_by_reset_is_never_cut() {
    let mut guard = guard();
    let cut = rounds(20_000, |index| {
        guard.received(&frame(Kind::Headers, 2 * index + 1, 20))?;
        if index % 2 == 0 {
            return guard.received(&frame(Kind::Reset(8), 2 * index + 1, 4));
        }
        guard.sent(&frame(Kind::Headers, 2 * index + 1, 20))?;
        guard.received(&frame(Kind::Reset(8), 2 * index + 1, 4))
    });
    assert_eq!(cut, (20_000, None));
}

#[test]
fn who_gives_up_requests_after_a_while_because_no_answer_comes_is_never_cut() {
    let mut guard = guard();
    let cut = rounds(200, |second| {
        let ids = (0..100).map(|n| 2 * (100 * second + n) + 1);
        guard.tick(Duration::from_secs(second.into()));
        ids.clone().try_for_each(|id| guard.received(&frame(Kind::Headers, id, 20)))?;
        guard.tick(Duration::from_secs(second.into()) + PATIENCE);
        ids.into_iter().try_for_each(|id| guard.received(&frame(Kind::Reset(8), id, 4)))
    });
    assert_eq!(cut, (200, None));
}

#[test]
fn a_download_with_two_window_updates_and_a_ping_for_each_frame_is_never_cut() {
    let mut guard = guard();
    let cut = rounds(20_000, |_| {
        guard.sent(&frame(Kind::Data, 1, 100))?;
        guard.received(&frame(Kind::WindowUpdate, 0, 4))?;
        guard.received(&frame(Kind::WindowUpdate, 1, 4))?;
        guard.received(&frame(Kind::Ping, 0, 8))
    });
    assert_eq!(cut, (20_000, None));
}

#[test]
fn streams_above_the_limit_are_borne_ten_times_as_long_as_errors() {
    let mut guard = guard();
    let cut = rounds(20_000, |index| guard.sent(&frame(Kind::Reset(7), 2 * index + 1, 4)));
    assert_eq!(cut, (1000, Some(Flood::RefusedStreams)));
}

#[test]
fn resets_for_our_own_reasons_cost_the_client_nothing() {
    let mut guard = guard();
    for code in [0, 2, 8] {
        let cut = rounds(20_000, |index| guard.sent(&frame(Kind::Reset(code), index, 4)));
        assert_eq!(cut, (20_000, None));
    }
}

#[test]
fn requests_without_a_word_of_answer_are_not_taken_without_end() {
    let mut guard = guard();
    for index in 0..201 {
        assert!(!guard.is_behind());
        guard.received(&frame(Kind::Headers, 2 * index + 1, 20)).unwrap();
    }
    assert!(guard.is_behind());
    guard.sent(&frame(Kind::Reset(7), 1, 4)).unwrap();
    assert!(!guard.is_behind());
}

#[test]
fn a_header_block_lasts_to_its_last_continuation() {
    let mut guard = guard();
    let open = Frame { ends_headers: false, ..frame(Kind::Headers, 1, 9) };
    guard.received(&open).unwrap();
    guard.received(&Frame { kind: Kind::Continuation, ..open }).unwrap();
    assert!(guard.is_in_headers());
    guard.received(&frame(Kind::Continuation, 1, 9)).unwrap();
    assert!(!guard.is_in_headers());
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Data),
        Just(Kind::Headers),
        Just(Kind::Continuation),
        (0u32..12).prop_map(Kind::Reset),
        Just(Kind::Settings),
        Just(Kind::Ping),
        Just(Kind::Pong),
        Just(Kind::WindowUpdate),
        Just(Kind::GoAway),
        Just(Kind::Other),
    ]
}

proptest! {
    #[test]
    fn no_frames_make_it_panic_and_what_is_sent_without_answer_always_ends(
        frames in prop::collection::vec((any_kind(), 0u32..50, 0u32..3, any::<bool>()), 0..200),
    ) {
        let mut guard = guard();
        for (kind, stream, length, is_received) in frames {
            let frame = frame(kind, stream, length);
            let _ = if is_received { guard.received(&frame) } else { guard.sent(&frame) };
            prop_assert!(guard.unanswered.len() <= 50);
        }
        let (count, flood) = rounds(1001, |_| guard.received(&frame(Kind::Ping, 0, 8)));
        prop_assert!(flood == Some(Flood::ControlFrames) && count <= 1000);
    }

    #[test]
    fn an_orderly_client_is_never_cut(
        exchanges in prop::collection::vec((1u32..40, 0u32..17_000), 1..300),
    ) {
        let mut guard = guard();
        for (index, (data_frames, length)) in exchanges.into_iter().enumerate() {
            let stream = 2 * u32::try_from(index).unwrap() + 1;
            guard.received(&frame(Kind::Headers, stream, 30)).unwrap();
            guard.received(&frame(Kind::Other, stream, 5)).unwrap();
            guard.sent(&frame(Kind::Headers, stream, 30)).unwrap();
            for _ in 0..data_frames {
                guard.sent(&frame(Kind::Data, stream, length)).unwrap();
                guard.received(&frame(Kind::WindowUpdate, stream, 4)).unwrap();
                guard.received(&frame(Kind::WindowUpdate, 0, 4)).unwrap();
            }
        }
        prop_assert!(!guard.is_behind());
    }
}
