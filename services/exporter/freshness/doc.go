// Package freshness tells scrapers how fresh what they scrape is: kind by kind when the newest event was observed, how many
// objects there are and whether the API server gives the kind at all, and how far behind its log the view is.
//
// What flows in: the time of every event, the availability that the state service publishes, and, at a scrape, the view's
// sizes and position. What flows out: one group of the exposition.
//
// Promised: last event times never go back, whichever build of the view told them; a kind of which nothing is known yet has
// no series.
package freshness
