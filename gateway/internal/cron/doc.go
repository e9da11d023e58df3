// Package cron launches runs on schedules. The database knows when each is due; one
// timer stands for the earliest. A tick is claimed in the very transaction that
// stores its run, so that it launches one run or none, whatever happens in between.
// Ticks that passed while nobody was there are made up for by one run.
package cron
