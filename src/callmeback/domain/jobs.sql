-- name: ensure
-- Makes jobs known, or gives them another rhythm.
SELECT ensure_jobs(%(names)s::text[], %(every)s::interval[]);

-- name: claim
-- Takes jobs that are due, each for one worker.
-- returns: Run
SELECT
    j.name,
    j.run
FROM claim_jobs(%(worker)s, %(names)s::text[], %(limit)s, %(lease)s) AS j;

-- name: extend
-- The heartbeat of a run; false when another worker has the job by now.
SELECT extend_job(%(name)s, %(run)s, %(lease)s);

-- name: finish
-- Notes how a run ended; false for one that another worker has taken over.
SELECT finish_job(%(name)s, %(run)s, %(result_count)s, %(error)s, %(again_within)s);

-- name: request
-- Makes a job due now; the number of its latest run.
SELECT request_job(%(name)s);

-- name: jobs
-- Every job, by name.
-- returns: JobState
SELECT
    j.name,
    j.every,
    j.next_run_at,
    j.claimed_by,
    j.lease_until > clock_timestamp() AS is_running,
    j.runs,
    j.failures,
    j.last_started_at,
    j.last_finished_at,
    j.last_duration_ms,
    j.last_result_count,
    j.last_error
FROM jobs AS j
ORDER BY j.name;
