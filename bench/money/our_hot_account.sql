\set n :n + 1
SELECT seq FROM move_credits('user_' || lpad('1', 26, '0'), 1, 'promotion', 'bench:' || (:r::bigint * 100000000 + :n * 100 + :client_id));
