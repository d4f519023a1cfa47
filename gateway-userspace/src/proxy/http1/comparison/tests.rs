//! Messages from pieces of the grammar, some of them damaged: codec and slow reader have to read the same.

use proptest::prelude::*;

use super::{SIZES, assert_agreement, assert_agreement_on_answer};
use crate::proxy::http::reference::messages::{any_answer, any_damage, any_request, damaged};
use crate::proxy::http::reference::{
    EXTENSION_BYTES_MAX, METHOD_BYTES_MAX, SIZE_DIGITS_MAX, Stop, TRAILER_BYTES_MAX, read_request,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_192))]

    #[test]
    fn the_codec_reads_what_the_grammar_says(message in any_request(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        assert_agreement(&message, &cuts);
    }

    #[test]
    fn the_codec_reads_damaged_messages_as_the_grammar_says(
        message in any_request(),
        damage in any_damage(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        assert_agreement(&damaged(message, &damage), &cuts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_192))]

    #[test]
    fn the_codec_reads_answers_as_the_grammar_says(
        answer in any_answer(), is_to_head in prop::bool::weighted(0.2), cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        assert_agreement_on_answer(&answer, is_to_head, &cuts);
    }

    #[test]
    fn the_codec_reads_damaged_answers_as_the_grammar_says(
        answer in any_answer(),
        is_to_head in prop::bool::weighted(0.2),
        damage in any_damage(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        assert_agreement_on_answer(&damaged(answer, &damage), is_to_head, &cuts);
    }
}

#[test]
fn the_codec_keeps_its_limits_to_the_byte() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length - 1));
    let head = |length: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(length - 23));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    let chunked = |body: &str| format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let extension = |length: usize| chunked(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length - 1)));
    let trailers = |length: usize| chunked(&format!("0\r\nT: {}\r\n\r\n", "t".repeat(length - 7)));
    let method = |length: usize| format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(length));
    let digits = |count: usize| chunked(&format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(count - 1)));
    let all: [(&dyn Fn(usize) -> String, usize); 7] = [
        (&target, SIZES.target),
        (&head, SIZES.head),
        (&fields, SIZES.fields),
        (&extension, EXTENSION_BYTES_MAX),
        (&trailers, TRAILER_BYTES_MAX + 1),
        (&method, METHOD_BYTES_MAX),
        (&digits, SIZE_DIGITS_MAX),
    ];
    for (make, limit) in all {
        let (most, more) = (make(limit), make(limit + 1));
        assert!(read_request(most.as_bytes(), &SIZES).is_ok(), "{most:?}");
        assert!(matches!(read_request(more.as_bytes(), &SIZES), Err(Stop::Refused(_))), "{more:?}");
        for message in [most, more] {
            for cut in [0, 1, message.len() / 2, message.len() - 1] {
                assert_agreement(message.as_bytes(), &[cut]);
                assert_agreement(&message.as_bytes()[..cut], &[cut / 2]);
            }
        }
    }
}
