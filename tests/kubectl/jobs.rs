use crate::scenario::Scenario;

fn job(name: &str, spec: &str, command: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n{spec}  template:\n    spec:\n      restartPolicy: Never\n      \
         containers:\n      - name: main\n        image: kontiki.local/web:1\n        imagePullPolicy: IfNotPresent\n        \
         command: [\"sh\", \"-c\", \"{command}\"]\n"
    )
}

const TICK: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: '@every 2s'
  timeZone: Europe/Oslo
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: main, image: kontiki.local/web:1, imagePullPolicy: IfNotPresent, command: [\"sh\", \"-c\", \"exit 0\"]}
";

pub fn are_started_by_the_clock(s: &Scenario) {
    s.apply(TICK);
    s.until(&["get", "jobs", "-o", "name"], "job.batch/tick-");
    s.until(&["get", "cronjob", "tick", "-o", "jsonpath={.status.lastSuccessfulTime}"], "Z");
    // Older ones ask for versions that are gone.
    if s.knows(27) {
        s.kubectl(&["create", "job", "now", "--from=cronjob/tick"]);
        s.kubectl(&["wait", "--for=condition=complete", "job/now", "--timeout=90s"]);
    }
    s.kubectl(&["delete", "cronjob", "tick"]);
}

pub fn run_to_their_end(s: &Scenario) {
    s.apply(&job("sum", "", "echo the sum is 42"));
    s.kubectl(&["wait", "--for=condition=complete", "job/sum", "--timeout=90s"]);
    assert!(s.kubectl(&["logs", "job/sum"]).contains("the sum is 42"));
    let table = s.kubectl(&["get", "job", "sum", "--no-headers"]);
    assert!(table.contains("1/1"), "{table}");
    s.apply(&job(
        "each",
        "  completionMode: Indexed\n  completions: 3\n  parallelism: 2\n",
        "echo index $JOB_COMPLETION_INDEX",
    ));
    s.kubectl(&["wait", "--for=condition=complete", "job/each", "--timeout=90s"]);
    assert_eq!(s.kubectl(&["get", "job", "each", "-o", "jsonpath={.status.completedIndexes}"]), "0-2");
    let said = s.kubectl(&["logs", "-l", "batch.kubernetes.io/job-name=each"]);
    assert!((0..3).all(|index| said.contains(&format!("index {index}"))), "{said}");
    s.apply(&job("never", "  backoffLimit: 0\n", "exit 3"));
    s.kubectl(&["wait", "--for=condition=failed", "job/never", "--timeout=90s"]);
    let described = s.kubectl(&["describe", "job", "never"]);
    assert!(described.contains("BackoffLimitExceeded") && described.contains("1 Failed"), "{described}");
    s.kubectl(&["delete", "job", "sum", "each", "never"]);
}
