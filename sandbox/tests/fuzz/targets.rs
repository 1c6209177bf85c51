//! One test per target.

use std::sync::{Mutex, PoisonError};

use crate::{choices::Choices, harness::Harness, mutate, request, request::Request};

/// Longest input: it decides on about so many mutations.
const INPUT: usize = 512;

/// Runs one target: the corpus as it is, then mutations of it.
fn target(name: &str) {
    let corpus = request::corpus(name);
    assert!(!corpus.is_empty(), "target {name} has no corpus");
    let harness = Mutex::new(Harness::new());
    bolero::check!(name = name)
        .with_test_time(std::time::Duration::from_secs(1))
        .with_max_len(INPUT)
        .for_each(|input: &[u8]| {
            let mut harness = harness.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(request) = Request::parse(input) {
                harness.send(&request);
                return;
            }
            let mut choices = Choices::new(input);
            for _ in 0..=choices.below(3) {
                let request = mutate::request(&mut choices, &corpus);
                harness.send(&request);
            }
        });
}

#[test]
fn api_30_any_request_gets_an_answer() {
    target("requests");
}

#[test]
fn api_261_any_json_patch_gets_an_answer() {
    target("patch-json");
}

#[test]
fn api_264_any_merge_patch_gets_an_answer() {
    target("patch-merge");
}

#[test]
fn api_268_any_strategic_merge_patch_gets_an_answer() {
    target("patch-strategic");
}

#[test]
fn api_290_any_apply_patch_gets_an_answer() {
    target("patch-apply");
}

#[test]
fn api_220_any_selector_gets_an_answer() {
    target("selectors");
}

#[test]
fn api_193_any_continue_token_gets_an_answer() {
    target("continue-tokens");
}

#[test]
fn api_5_any_protobuf_body_gets_an_answer() {
    target("protobuf");
}

#[test]
fn api_541_any_custom_resource_definition_gets_an_answer() {
    target("definitions");
}
