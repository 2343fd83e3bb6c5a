//! What is told while a picture is drawn, and how it is stopped.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sd_rbee::Error;
use sd_rbee::params::Request;
use sd_rbee::pipeline::Engine;
use sd_rbee::progress::{CancelToken, Observer, Phase, Step};
use sd_rbee::schedulers::SchedulerKind;

use super::{generate, load, observe, params, request, with_kind};

/// Keeps what it hears, and does something at each step.
struct Listener<F> {
    heard: Vec<Step>,
    then: F,
}

impl<F: FnMut(&Step) -> sd_rbee::Result<()> + Send> Observer for Listener<F> {
    fn on_step(&mut self, step: &Step) -> sd_rbee::Result<()> {
        self.heard.push(step.clone());
        (self.then)(step)
    }
}

fn listener<F: FnMut(&Step) -> sd_rbee::Result<()> + Send>(then: F) -> Listener<F> {
    Listener { heard: Vec::new(), then }
}

fn units(steps: &[Step]) -> Vec<(Phase, usize, usize, usize)> {
    steps.iter().map(|step| (step.phase, step.image, step.step, step.total)).collect()
}

#[test]
fn units_are_told_in_order() {
    let mut listener = listener(|_| Ok(()));
    let request = Request { num_images_per_prompt: 2, ..request() };
    observe(&mut load(Engine::Native), request, &mut listener, &CancelToken::new()).expect("two pictures");
    let denoise = |image, step| (Phase::Denoise, image, step, 6);
    let mut want = vec![(Phase::Encode, 0, 1, 1), (Phase::Prepare, 0, 1, 1)];
    want.extend([denoise(0, 1), denoise(0, 2), denoise(0, 3), denoise(1, 4), denoise(1, 5), denoise(1, 6)]);
    want.extend([(Phase::Decode, 0, 1, 2), (Phase::Decode, 1, 2, 2)]);
    assert_eq!(units(&listener.heard), want);
    assert!(listener.heard.is_sorted_by_key(|step| step.elapsed));
    for step in &listener.heard {
        let measured = matches!(step.phase, Phase::Denoise | Phase::Decode);
        assert_eq!(step.eta.is_some(), measured, "{step:?}");
    }
    assert_eq!(listener.heard.last().and_then(|step| step.eta), Some(Duration::ZERO));
}

#[test]
fn a_unit_is_a_call_of_the_network() {
    let mut pipeline = load(Engine::Native);
    let params = params(&pipeline, request());
    let mut listener = listener(|_| Ok(()));
    let heun = with_kind(SchedulerKind::Heun);
    pipeline.generate(&params, &heun, &mut listener, &CancelToken::new()).expect("a picture");
    let told = units(&listener.heard).into_iter().filter(|(phase, ..)| *phase == Phase::Denoise);
    assert_eq!(told.collect::<Vec<_>>(), (1..=5).map(|step| (Phase::Denoise, 0, step, 5)).collect::<Vec<_>>());
}

#[test]
fn cancelling_at_any_unit_ends_it_there() {
    let mut pipeline = load(Engine::Native);
    let whole = generate(&mut pipeline, request(), &Default::default());
    for last in 1..=6 {
        let cancel = CancelToken::new();
        let mut heard = 0;
        let mut listener = listener(|_| {
            heard += 1;
            if heard == last {
                cancel.cancel();
            }
            Ok(())
        });
        let result = observe(&mut pipeline, request(), &mut listener, &cancel);
        assert!(matches!(result, Err(Error::Cancelled)), "unit {last}");
        assert_eq!(listener.heard.len(), last, "{:?}", units(&listener.heard));
    }
    let again = generate(&mut pipeline, request(), &Default::default());
    assert!(again.images == whole.images, "what was cancelled leaves nothing behind");
}

#[test]
fn what_is_cancelled_beforehand_does_not_begin() {
    for cancel_parent in [true, false] {
        let parent = CancelToken::new();
        let child = parent.child();
        if cancel_parent {
            parent.cancel()
        } else {
            child.cancel()
        }
        assert_eq!(parent.is_cancelled(), cancel_parent);
        let mut listener = listener(|_| Ok(()));
        let result = observe(&mut load(Engine::Native), request(), &mut listener, &child);
        assert!(matches!(result, Err(Error::Cancelled)));
        assert!(listener.heard.is_empty());
    }
}

/// The flag is seen between the layers of a step: a large picture's first one does not end any more.
#[test]
fn cancelling_from_another_thread_ends_within_a_step() {
    let mut pipeline = load(Engine::Native);
    let cancel = CancelToken::new();
    let (begin, begun) = mpsc::channel();
    thread::scope(|scope| {
        let cancel = &cancel;
        scope.spawn(move || {
            begun.recv().expect("the steps began");
            thread::sleep(Duration::from_millis(5));
            cancel.cancel();
        });
        let mut listener = listener(|step| {
            if step.phase == Phase::Prepare {
                begin.send(()).expect("the other thread waits");
            }
            Ok(())
        });
        let request = Request { width: Some(512), height: Some(512), ..request() };
        let result = observe(&mut pipeline, request, &mut listener, cancel);
        assert!(matches!(result, Err(Error::Cancelled)));
        assert_eq!(listener.heard.last().map(|step| step.phase), Some(Phase::Prepare));
    });
}

#[test]
fn an_observers_error_is_the_result() {
    for phase in Phase::ALL {
        let mut listener =
            listener(|step| if step.phase == phase { Err(Error::Device("stop".into())) } else { Ok(()) });
        let result = observe(&mut load(Engine::Native), request(), &mut listener, &CancelToken::new());
        assert!(matches!(result, Err(Error::Device(text)) if text == "stop"));
        assert_eq!(listener.heard.last().map(|step| step.phase), Some(phase));
    }
}
