import { Tq } from "./app.ts";
import { findConfigModule, loadConfigModule } from "./module-loader.ts";

/**
 * The app of whoever names none: its settings are those of `tq.config.*` in the working
 * directory, if there is one, as Celery's default loader reads `celeryconfig`. A module of its
 * own, so that every process of a worker gets it the way it gets any other app.
 */
export const app = new Tq("default");

const config = process.env.TQ_CONFIG_MODULE ? undefined : findConfigModule(process.cwd());
if (config !== undefined) app.conf.configFromObject(await loadConfigModule(config, { cwd: process.cwd() }));
