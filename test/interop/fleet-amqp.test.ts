import { fleetOver } from "./fleet.ts";

fleetOver("amqp");
