-- The database of a server of revision 0001 (commit 9ed3abe) that was killed while a job ran; made with the demo model.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE documents (
	name TEXT NOT NULL, 
	value JSON NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "documents" VALUES('schema','{"model":"demo","version":"e3b0c44298fc1c14","schema":{"additionalProperties":false,"properties":{"prompt":{"description":"One or two shapes: size, colour, place, background.","maxLength":500,"minLength":1,"title":"Prompt","type":"string"},"height":{"default":128,"description":"Height of the picture in pixels.","maximum":256,"minimum":64,"multipleOf":16,"title":"Height","type":"integer"},"width":{"default":128,"description":"Width of the picture in pixels.","maximum":256,"minimum":64,"multipleOf":16,"title":"Width","type":"integer"},"num_inference_steps":{"default":20,"description":"Denoising steps.","maximum":50,"minimum":1,"title":"Num Inference Steps","type":"integer"},"seed":{"anyOf":[{"maximum":4294967295,"minimum":0,"type":"integer"},{"type":"null"}],"description":"The same seed and arguments give the same picture; the server draws one that is left out.","title":"Seed"},"output_path":{"type":"string","minLength":1,"title":"Output Path","description":"File to write, relative to the server''s output root; the server names it when left out."}},"required":["prompt"],"title":"GenerateRequest","type":"object"},"output_suffix":".png"}');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	job_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	data JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES(1,'264860ccd9ea47f3a0e6c3a48b1cb503','queued',1.79564273773352360728e+09,'{}');
INSERT INTO "events" VALUES(2,'264860ccd9ea47f3a0e6c3a48b1cb503','started',1.79564273774424695969e+09,'{"group":0,"attempt":1}');
INSERT INTO "events" VALUES(3,'264860ccd9ea47f3a0e6c3a48b1cb503','step',1.7956427378422982693e+09,'{"step":1,"total_steps":20}');
INSERT INTO "events" VALUES(4,'264860ccd9ea47f3a0e6c3a48b1cb503','step',1.79564273795160651205e+09,'{"step":8,"total_steps":20}');
INSERT INTO "events" VALUES(5,'264860ccd9ea47f3a0e6c3a48b1cb503','step',1.79564273805584502215e+09,'{"step":15,"total_steps":20}');
INSERT INTO "events" VALUES(6,'264860ccd9ea47f3a0e6c3a48b1cb503','step',1.79564273822251963615e+09,'{"step":20,"total_steps":20}');
INSERT INTO "events" VALUES(7,'264860ccd9ea47f3a0e6c3a48b1cb503','succeeded',1.79564273832906031607e+09,'{"media_type":"image/png","size":9411,"sha256":"f12935eb9d543a654e143fa618c225594addd0733bc3645b6565b03a30b6dc1c"}');
INSERT INTO "events" VALUES(8,'e8414bbfe1444844a66a91bc39a1765d','queued',1.79564273833815145494e+09,'{}');
INSERT INTO "events" VALUES(9,'e8414bbfe1444844a66a91bc39a1765d','started',1.79564273834301447868e+09,'{"group":0,"attempt":1}');
INSERT INTO "events" VALUES(10,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273843490600579e+09,'{"step":1,"total_steps":20}');
INSERT INTO "events" VALUES(11,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273854968237879e+09,'{"step":3,"total_steps":20}');
INSERT INTO "events" VALUES(12,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273865403413767e+09,'{"step":5,"total_steps":20}');
INSERT INTO "events" VALUES(13,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273881186938289e+09,'{"step":7,"total_steps":20}');
INSERT INTO "events" VALUES(14,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273893336415286e+09,'{"step":10,"total_steps":20}');
INSERT INTO "events" VALUES(15,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273903577303883e+09,'{"step":15,"total_steps":20}');
INSERT INTO "events" VALUES(16,'e8414bbfe1444844a66a91bc39a1765d','step',1.79564273913796830181e+09,'{"step":20,"total_steps":20}');
INSERT INTO "events" VALUES(17,'e8414bbfe1444844a66a91bc39a1765d','succeeded',1.79564273917899489396e+09,'{"media_type":"image/png","size":9521,"sha256":"3a2ab0647486faf6541aacaef36987ed519e36b157af4625b7b2d8caafe5f8cd"}');
INSERT INTO "events" VALUES(18,'163802e0f3ba4bab8ce12a34574a0f24','queued',1.7956427391846983433e+09,'{}');
INSERT INTO "events" VALUES(19,'163802e0f3ba4bab8ce12a34574a0f24','started',1.79564273918718123436e+09,'{"group":0,"attempt":1}');
INSERT INTO "events" VALUES(20,'122d3a33fb6f4b0aa2abb65c2f127134','queued',1.79564273919738173488e+09,'{}');
INSERT INTO "events" VALUES(21,'9fc35a6a7b064f4e8f616fe7d4c9abec','queued',1.79564273922878050808e+09,'{}');
INSERT INTO "events" VALUES(22,'9fc35a6a7b064f4e8f616fe7d4c9abec','canceled',1.7956427392765376568e+09,'{}');
INSERT INTO "events" VALUES(23,'163802e0f3ba4bab8ce12a34574a0f24','step',1.79564274008537721636e+09,'{"step":1,"total_steps":50}');
INSERT INTO "events" VALUES(24,'163802e0f3ba4bab8ce12a34574a0f24','step',1.79564274026235747342e+09,'{"step":2,"total_steps":50}');
INSERT INTO "events" VALUES(25,'122d3a33fb6f4b0aa2abb65c2f127134','failed',1.79564274036632370943e+09,'{"error":{"type":"expired","message":"its deadline passed before it was done","hint":"allow more time with Job-TTL"}}');
INSERT INTO "events" VALUES(26,'163802e0f3ba4bab8ce12a34574a0f24','cancel_requested',1.79564274041009926791e+09,'{}');
INSERT INTO "events" VALUES(27,'163802e0f3ba4bab8ce12a34574a0f24','step',1.79564274079771304132e+09,'{"step":3,"total_steps":50}');
INSERT INTO "events" VALUES(28,'163802e0f3ba4bab8ce12a34574a0f24','canceled',1.79564274080736494066e+09,'{}');
INSERT INTO "events" VALUES(29,'cb38480eee7c49c68a75fc86319a9e1b','queued',1.79564274081383013726e+09,'{}');
INSERT INTO "events" VALUES(30,'cb38480eee7c49c68a75fc86319a9e1b','started',1.79564274081578254698e+09,'{"group":0,"attempt":1}');
INSERT INTO "events" VALUES(31,'6166c6405f8f44c889f024ebe309a97f','queued',1.79564274082030439372e+09,'{}');
INSERT INTO "events" VALUES(32,'b37f6fa5fb234ee49584e855c25fe925','queued',1.79564274082488822934e+09,'{}');
INSERT INTO "events" VALUES(33,'cb38480eee7c49c68a75fc86319a9e1b','step',1.79564274136265850066e+09,'{"step":1,"total_steps":50}');
CREATE TABLE jobs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id TEXT NOT NULL, 
	status TEXT NOT NULL, 
	output_path TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	attempts INTEGER NOT NULL, 
	group_index INTEGER, 
	step INTEGER NOT NULL, 
	total_steps INTEGER, 
	deadline FLOAT, 
	idempotency_key TEXT, 
	request_digest TEXT, 
	cancel_requested BOOLEAN NOT NULL, 
	output JSON, 
	error JSON, 
	kwargs JSON NOT NULL, 
	UNIQUE (id), 
	UNIQUE (idempotency_key)
);
INSERT INTO "jobs" VALUES(1,'264860ccd9ea47f3a0e6c3a48b1cb503','succeeded','/outputs/264860ccd9ea47f3a0e6c3a48b1cb503.png',1.79564273773352360728e+09,1.79564273774424695969e+09,1.79564273832906031607e+09,1,0,20,20,NULL,'first','046f72b4a0ca20c5c8a52f25a71bacb525bad956c61201abed25c7bd794478b9',0,'{"path":"/outputs/264860ccd9ea47f3a0e6c3a48b1cb503.png","media_type":"image/png","size":9411,"sha256":"f12935eb9d543a654e143fa618c225594addd0733bc3645b6565b03a30b6dc1c"}',NULL,'{"prompt":"a red circle","seed":1,"height":128,"width":128,"num_inference_steps":20}');
INSERT INTO "jobs" VALUES(2,'e8414bbfe1444844a66a91bc39a1765d','succeeded','/outputs/named.png',1.79564273833815145494e+09,1.79564273834301447868e+09,1.79564273917899489396e+09,1,0,20,20,NULL,NULL,NULL,0,'{"path":"/outputs/named.png","media_type":"image/png","size":9521,"sha256":"3a2ab0647486faf6541aacaef36987ed519e36b157af4625b7b2d8caafe5f8cd"}',NULL,'{"prompt":"a blue cross","seed":2,"height":128,"width":128,"num_inference_steps":20}');
INSERT INTO "jobs" VALUES(3,'163802e0f3ba4bab8ce12a34574a0f24','canceled','/outputs/163802e0f3ba4bab8ce12a34574a0f24.png',1.7956427391846983433e+09,1.79564273918718123436e+09,1.79564274080736494066e+09,1,0,3,50,NULL,NULL,NULL,1,NULL,NULL,'{"prompt":"a blue cross","seed":3,"num_inference_steps":50,"width":256,"height":256}');
INSERT INTO "jobs" VALUES(4,'122d3a33fb6f4b0aa2abb65c2f127134','failed','/outputs/122d3a33fb6f4b0aa2abb65c2f127134.png',1.79564273919738173488e+09,NULL,1.79564274036632370943e+09,0,NULL,0,NULL,1.79564274019684052465e+09,NULL,NULL,0,NULL,'{"type":"expired","message":"its deadline passed before it was done","hint":"allow more time with Job-TTL"}','{"prompt":"a green star","seed":4,"height":128,"width":128,"num_inference_steps":20}');
INSERT INTO "jobs" VALUES(5,'9fc35a6a7b064f4e8f616fe7d4c9abec','canceled','/outputs/9fc35a6a7b064f4e8f616fe7d4c9abec.png',1.79564273922878050808e+09,NULL,1.7956427392765376568e+09,0,NULL,0,NULL,NULL,NULL,NULL,0,NULL,NULL,'{"prompt":"a green star","seed":9,"height":128,"width":128,"num_inference_steps":20}');
INSERT INTO "jobs" VALUES(6,'cb38480eee7c49c68a75fc86319a9e1b','running','/outputs/cb38480eee7c49c68a75fc86319a9e1b.png',1.79564274081383013726e+09,1.79564274081578254698e+09,NULL,1,0,1,50,NULL,'running','392fcef35cc8256dadf8ea1caa9aacaf9d896413b04a356cf5754e833694b02c',0,NULL,NULL,'{"prompt":"a blue cross","seed":5,"num_inference_steps":50,"width":256,"height":256}');
INSERT INTO "jobs" VALUES(7,'6166c6405f8f44c889f024ebe309a97f','queued','/outputs/6166c6405f8f44c889f024ebe309a97f.png',1.79564274082030439372e+09,NULL,NULL,0,NULL,0,NULL,NULL,'queued','7b3eeee9bbf469b830a710082f7108ac36aa10f6aac827f8817e877a327f6fda',0,NULL,NULL,'{"prompt":"a yellow ring","seed":6,"height":128,"width":128,"num_inference_steps":20}');
INSERT INTO "jobs" VALUES(8,'b37f6fa5fb234ee49584e855c25fe925','queued','/outputs/later.png',1.79564274082488822934e+09,NULL,NULL,0,NULL,0,NULL,100000000000.0,NULL,NULL,0,NULL,NULL,'{"prompt":"a yellow ring","seed":7,"height":128,"width":128,"num_inference_steps":20}');
CREATE INDEX jobs_by_status ON jobs (status, seq);
CREATE INDEX jobs_by_end ON jobs (finished_at);
CREATE INDEX events_by_job ON events (job_id, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',8);
COMMIT;
