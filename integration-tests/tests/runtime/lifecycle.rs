//! Lifecycle: create, start, state, kill, delete, list, run and their refusals in the wrong state.

use skiff_integration_tests::bundle::Bundle;
use skiff_integration_tests::compare::each;

#[test]
fn created_started_stopped_deleted() {
    each(&[], |runtime| {
        let bundle = Bundle::sleeper();
        let container = runtime.container(&bundle);
        assert_eq!(container.status(), "absent");
        container.create(&[]).ok();
        assert_eq!(container.status(), "created");
        container.start().ok();
        assert_eq!(container.status(), "running");
        container.kill("TERM").ok();
        container.reaches("stopped");
        container.delete(&[]).ok();
        assert_eq!(container.status(), "absent");
        container.assert_gone();
    });
}
