/** Result stores Celery has and tq does not: their settings are kept, checked and told about. */
import { anything, bool, dict, integer, list, name, nullable, number, seconds, text } from "../parse.ts";
import { notYet } from "../setting.ts";

const maybeText = nullable(text);
const maybeDict = nullable(dict);

export const storeSettings = {
  cacheBackend: notYet(nullable(name), null, "URL of the cache used as result store."),
  cacheBackendOptions: notYet(dict, {}, "Options of its driver."),

  cassandraEntryTtl: notYet(nullable(seconds), null, "Seconds rows are kept."),
  cassandraKeyspace: notYet(maybeText, null, "Keyspace."),
  cassandraPort: notYet(nullable(integer(1, 65_535)), null, "Port."),
  cassandraReadConsistency: notYet(maybeText, null, "Consistency of reads."),
  cassandraServers: notYet(nullable(list), null, "Hosts."),
  cassandraBundlePath: notYet(maybeText, null, "File of the secure connect bundle."),
  cassandraTable: notYet(maybeText, null, "Table."),
  cassandraWriteConsistency: notYet(maybeText, null, "Consistency of writes."),
  cassandraAuthProvider: notYet(maybeText, null, "Class that authenticates."),
  cassandraAuthKwargs: notYet(nullable(anything), null, "Arguments of that class."),
  cassandraOptions: notYet(dict, {}, "Options of the cluster."),

  s3AccessKeyId: notYet(maybeText, null, "Access key."),
  s3SecretAccessKey: notYet(maybeText, null, "Secret key."),
  s3Bucket: notYet(maybeText, null, "Bucket."),
  s3BasePath: notYet(maybeText, null, "Beginning of the keys."),
  s3EndpointUrl: notYet(maybeText, null, "Endpoint, when not Amazon's."),
  s3Region: notYet(maybeText, null, "Region."),

  azureblockblobContainerName: notYet(text, "celery", "Container."),
  azureblockblobRetryInitialBackoffSec: notYet(integer(0), 2, "Seconds before the first retry."),
  azureblockblobRetryIncrementBase: notYet(integer(0), 2, "Base of the growing delay."),
  azureblockblobRetryMaxAttempts: notYet(integer(0), 3, "Most attempts."),
  azureblockblobBasePath: notYet(text, "", "Beginning of the names."),
  azureblockblobConnectionTimeout: notYet(seconds, 20, "Seconds to wait for a connection."),
  azureblockblobReadTimeout: notYet(seconds, 120, "Seconds to wait for an answer."),

  gcsBucket: notYet(maybeText, null, "Bucket."),
  gcsProject: notYet(maybeText, null, "Project."),
  gcsBasePath: notYet(text, "", "Beginning of the names."),
  gcsTtl: notYet(seconds, 0, "Seconds results are kept; 0 means for ever."),

  couchbaseBackendSettings: notYet(maybeDict, null, "Host, port, bucket, username, password."),
  arangodbBackendSettings: notYet(maybeDict, null, "Host, port, database, collection, username, password."),
  mongodbBackendSettings: notYet(maybeDict, null, "Database, collections and driver options."),

  cosmosdbsqlDatabaseName: notYet(text, "celerydb", "Database."),
  cosmosdbsqlCollectionName: notYet(text, "celerycol", "Collection."),
  cosmosdbsqlConsistencyLevel: notYet(text, "Session", "Consistency."),
  cosmosdbsqlMaxRetryAttempts: notYet(integer(0), 9, "Most attempts."),
  cosmosdbsqlMaxRetryWaitTime: notYet(seconds, 30, "Most seconds of waiting between attempts."),

  elasticsearchRetryOnTimeout: notYet(nullable(bool), null, "Ask again after a time-out."),
  elasticsearchMaxRetries: notYet(nullable(integer(0)), null, "Most attempts."),
  elasticsearchTimeout: notYet(nullable(number(0)), null, "Seconds to wait for an answer."),
  elasticsearchSaveMetaAsText: notYet(bool, true, "Store documents as JSON text."),

  databaseUrl: notYet(maybeText, null, "Data source of the SQL result store.", { old: "CELERY_RESULT_DBURI" }),
  databaseEngineOptions: notYet(
    maybeDict,
    Object.freeze({ pool_pre_ping: true, pool_recycle: 3600 }),
    "Options of the SQL engine.",
    { old: "CELERY_RESULT_ENGINE_OPTIONS" },
  ),
  databaseEngineCallback: notYet(nullable(anything), null, "Function that makes the SQL engine."),
  databaseShortLivedSessions: notYet(bool, false, "A new session for each use.", {
    old: "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
  }),
  databaseTableSchemas: notYet(maybeDict, null, "Schemas of the tables."),
  databaseTableNames: notYet(maybeDict, null, "Names of the tables.", { old: "CELERY_RESULT_DB_TABLENAMES" }),
  databaseCreateTablesAtSetup: notYet(bool, true, "Make the tables at the start rather than at first use."),
};
