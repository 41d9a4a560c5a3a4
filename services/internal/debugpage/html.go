package debugpage

import (
	"fmt"
	"html/template"
	"time"
)

// Whole tells whether one node or pod was asked for, for the template.
func (a answer) Whole() bool { return a.query.Node != "" || a.query.Pod != "" }

// Asked is the pod that was asked for, as it was.
func (a answer) Asked() string {
	if a.query.Pod == "" {
		return ""
	}
	return a.query.Namespace + "/" + a.query.Pod
}

// AskedNode is the node that was asked for.
func (a answer) AskedNode() string { return a.query.Node }

// First is the number of the first node that is shown.
func (a answer) First() int { return min(a.query.Offset, a.Total) + 1 }

// Last is the number of the last one.
func (a answer) Last() int { return min(a.query.Offset, a.Total) + len(a.Nodes) }

// Ago tells how long before the page's time t was, or how long after: "12.3s ago", "in 4s", "never".
func (a answer) Ago(t time.Time) string {
	switch d := a.Time.Sub(t); {
	case t.IsZero():
		return "never"
	case d < -time.Millisecond:
		return "in " + short(-d)
	default:
		return short(d) + " ago"
	}
}

// short is a duration as people want it: two digits more than its unit at most.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}

// view shows an answer.
var view = template.Must(template.New("nodes").Funcs(template.FuncMap{
	"short": short,
	"stamp": func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
	},
	"ordered": func(states map[string]int) []string {
		var all []string
		for _, s := range []string{Failing, Stale, Waiting, Partial, Fresh} {
			if n := states[s]; n > 0 {
				all = append(all, fmt.Sprintf("%d %s", n, s))
			}
		}
		return all
	},
}).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headwater: nodes</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5em; color: #1b1f24; background: #fff }
h1 { font-size: 1.3em; margin: 0 } h2 { font-size: 1.1em }
p { margin: .5em 0; max-width: 75em }
table { border-collapse: collapse; margin-top: 1em }
th, td { text-align: left; vertical-align: top; padding: .25em 1em .25em 0; border-bottom: 1px solid #d8dee4 }
th { font-weight: 600; white-space: nowrap } td { overflow-wrap: anywhere }
.number { text-align: right; white-space: nowrap } .time { white-space: nowrap }
.failing, .no { color: #b3261e; font-weight: 600 } .stale, .waiting, .partial { color: #8a5a00; font-weight: 600 } .fresh, .yes { color: #1a7f37 }
.note { background: #fff4d6; padding: .4em .7em } .quiet { color: #59636e }
form { margin: .7em 0 } input { font: inherit; padding: .15em .4em }
</style>
</head>
<body>
<h1>Nodes and their scrapes</h1>
<p class="quiet">{{.Service}}, {{stamp .Time}}, one scrape every {{short .Resolution}}. As <a href="?format=json{{with .Asked}}&amp;pod={{.}}{{end}}{{with .AskedNode}}&amp;node={{.}}{{end}}">JSON</a>.{{if .Whole}} <a href="?">All nodes</a>{{end}}</p>
<form><label>Why has a pod no metrics? <input name="pod" size="45" placeholder="namespace/name" value="{{.Asked}}"></label> <button>Tell</button></form>
<form><label>One node <input name="node" size="45" placeholder="name" value="{{.AskedNode}}"></label> <button>Show</button></form>
{{range .Notes}}<p class="note">{{.}}</p>
{{end}}{{with .Pod}}<h2>Pod {{.Namespace}}/{{.Name}}</h2>
<p class="{{if .HasMetrics}}yes{{else}}no{{end}}">{{.Verdict}}</p>
<table>
<tr><th>Rule</th><th></th><th>What was found</th></tr>
{{range .Steps}}<tr><td>{{.Rule}}</td><td class="{{if .OK}}yes{{else}}no{{end}}">{{if .OK}}yes{{else}}no{{end}}</td><td>{{.Detail}}</td></tr>
{{end}}</table>
{{end}}{{if .Nodes}}{{if not .Whole}}<p>{{range $i, $s := ordered .States}}{{if $i}}, {{end}}{{$s}}{{end}}. Shown: {{.First}} to {{.Last}} of {{.Total}}, the worst first.{{with .Previous}} <a href="{{.}}">Back</a>{{end}}{{with .Next}} <a href="{{.}}">More</a>{{end}}</p>
{{end}}<table>
<tr><th>Node</th><th>State</th><th>Last success</th><th>Last attempt</th><th>took</th><th>Failures</th><th>Next attempt</th><th>Pods</th><th>Dropped</th><th>URL, error</th></tr>
{{range .Nodes}}<tr><td><a href="?node={{.Name}}">{{.Name}}</a>{{with .Scraper}}<br><span class="quiet">by {{.}}</span>{{end}}</td><td class="{{.State}}">{{.State}}</td><td class="time" title="{{stamp .LastSuccess}}">{{$.Ago .LastSuccess}}</td><td class="time" title="{{stamp .LastAttempt}}">{{$.Ago .LastAttempt}}</td><td class="number">{{if .Result}}{{short .Took}}{{end}}</td><td class="number">{{.Failures}}</td><td class="time" title="{{stamp .NextAttempt}}">{{if not .NextAttempt.IsZero}}{{$.Ago .NextAttempt}}{{end}}</td><td class="number">{{.Pods}}</td><td class="number">{{.DroppedCount}}</td><td><span class="quiet">{{.URL}}</span>{{if .Error}}<br><span class="no">{{.Result}}</span>: {{.Error}}{{end}}</td></tr>
{{end}}</table>
{{range .Nodes}}{{if .Dropped}}<h2>In the kubelet's last good answer, but not published</h2>
<table>
<tr><th>Pod</th><th>Container</th><th>Reason</th><th></th></tr>
{{range .Dropped}}<tr><td>{{if .Pod}}<a href="?pod={{.Namespace}}/{{.Pod}}">{{.Namespace}}/{{.Pod}}</a>{{else}}<span class="quiet">the node itself</span>{{end}}</td><td>{{.Container}}</td><td>{{.Reason}}</td><td>{{.Explained}}</td></tr>
{{end}}</table>
{{if .More}}<p class="note">And {{.More}} more, which are only counted.</p>
{{end}}{{end}}{{end}}{{else if not .Whole}}<p>No nodes.</p>
{{end}}</body>
</html>
`))
