import { fleetOver } from "./fleet.ts";

fleetOver("redis");
