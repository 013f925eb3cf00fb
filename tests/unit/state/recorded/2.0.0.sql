BEGIN TRANSACTION;
CREATE TABLE decisions (number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,
                                      subject TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL);
INSERT INTO "decisions" VALUES(1,1700000000.0,'launch','default','8 jobs have found no room for more than 40 s','launched i-1, i-2');
INSERT INTO "decisions" VALUES(2,1700000001.0,'hold','default','1 idle VM kept: min_vms is 1','');
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "facts" VALUES('looks','{"t2": ["m1.small", "ami-1"], "t3": ["", ""]}');
INSERT INTO "facts" VALUES('breakers','{"default": {"failed_boots": 3, "trips": 1, "refusals": 2, "closed_until": 1700000300.0, "reason": "no capacity", "boot_reason": "a broken image"}}');
INSERT INTO "facts" VALUES('capacities','{"m1.small": {"cpus": 4, "memory_mb": 8000, "disk_mb": 20000, "gpus": 1}}');
INSERT INTO "facts" VALUES('former','["i-0", "t0"]');
INSERT INTO "facts" VALUES('unforgotten','{"i-00": {"worker_name": "w0", "address": "10.0.0.9", "gone_at": 1699999995.0, "tries": 2, "retry_at": 1700000009.0}}');
INSERT INTO "facts" VALUES('tokens_shown','true');
INSERT INTO "facts" VALUES('refused_features','{"of": "http://cloud|r|", "features": ["TagSpecifications"]}');
INSERT INTO "facts" VALUES('report','{"pid": 4711, "summary": "jobs 0 waiting"}');
CREATE TABLE intents (token TEXT PRIMARY KEY, pool TEXT NOT NULL, count INTEGER NOT NULL,
                                    requested_at REAL NOT NULL);
INSERT INTO "intents" VALUES('t2','default',3,1699999940.0);
INSERT INTO "intents" VALUES('t3','default',1,1699999970.0);
CREATE TABLE vms (id TEXT PRIMARY KEY, record TEXT NOT NULL);
INSERT INTO "vms" VALUES('i-1','{"id": "i-1", "pool": "default", "token": "t1", "launched_at": 1699999100.0, "state": "running", "address": "10.0.0.1", "name": "w1", "type": "m1.small", "detail": "", "tagged": true, "restarted_at": 0.0, "missing_since": null, "joined_at": 1699999200.0, "worker_name": "w1", "lost_since": null, "closing_at": null, "closed": false, "failed_boot": false, "doomed": false, "terminate_tries": 0, "terminate_retry_at": 0.0, "reopen_retry_at": 0.0, "terminated_at": null}');
INSERT INTO "vms" VALUES('i-2','{"id": "i-2", "pool": "default", "token": "t1", "launched_at": 1699999100.0, "state": "pending", "address": null, "name": "", "type": "", "detail": "", "tagged": false, "restarted_at": 0.0, "missing_since": null, "joined_at": null, "worker_name": "", "lost_since": null, "closing_at": 1699999995.0, "closed": true, "failed_boot": false, "doomed": false, "terminate_tries": 2, "terminate_retry_at": 1700000020.0, "reopen_retry_at": 0.0, "terminated_at": null}');
COMMIT;
