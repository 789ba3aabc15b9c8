package admin

// homePage is the template of /. It works without scripts.
const homePage = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Weft admin</title>
<style>
:root { color-scheme: light dark; --line: #d0d7de; --soft: #59636e; --accent: #0b6e4f; --back: #f6f8fa; --warn: #a15c00; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --soft: #9198a1; --accent: #4cc38a; --back: #151b23; --warn: #e3a008; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 70rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; border-bottom: 2px solid var(--accent); padding-bottom: .75rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
dl { display: contents; }
header div { color: var(--soft); }
header b { color: CanvasText; font-weight: 600; }
section ul { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); border-radius: 6px; }
section li { display: grid; grid-template-columns: 15rem 1fr; gap: .25rem 1rem; padding: .6rem .9rem; border-top: 1px solid var(--line); }
section li:first-child { border-top: 0; }
code, .path { font: 14px/1.45 ui-monospace, monospace; }
a { color: var(--accent); }
p { margin: 0; color: var(--soft); }
form { grid-column: 2; display: flex; flex-wrap: wrap; gap: .4rem .9rem; align-items: center; }
label { display: inline-flex; gap: .35rem; align-items: center; font-size: 14px; }
input[type=text], select, button { font: inherit; font-size: 14px; padding: .15rem .4rem; border: 1px solid var(--line); border-radius: 4px; background: Canvas; color: CanvasText; }
input[type=text] { width: 11rem; }
button { background: var(--back); cursor: pointer; padding: .15rem .8rem; }
button.post { border-color: var(--warn); color: var(--warn); }
@media (max-width: 45rem) { section li { grid-template-columns: 1fr; } form { grid-column: 1; } }
</style>
</head>
<body>
<header>
<h1>Weft admin</h1>
<div>state <b>{{.State}}</b></div>
{{if .Version}}<div>version <b>{{.Version}}</b></div>{{end}}
<div>up <b>{{.Uptime}}</b></div>
{{if .Node}}<div>node <b>{{.Node}}</b></div>{{end}}
</header>
{{range .Groups}}<section>
<h2>{{.Title}}</h2>
<ul>
{{range .Commands}}<li>
<div class="path">{{if .Post}}{{.Path}}{{else}}<a href="{{.Path}}">{{.Path}}</a>{{end}}</div>
<p>{{.Help}}</p>
{{if .Form}}<form action="{{.Path}}" method="{{.Method}}">
{{range .Fields}}<label for="{{.ID}}" title="{{.Help}}">
{{- if .Flag}}<input type="checkbox" id="{{.ID}}" name="{{.Name}}"> {{.Name}}
{{- else if .Choice}}{{.Name}} <select id="{{.ID}}" name="{{.Name}}">{{range .Choices}}<option>{{.}}</option>{{end}}</select>
{{- else}}{{.Name}} <input type="text" id="{{.ID}}" name="{{.Name}}">{{end}}</label>
{{end}}<button{{if .Post}} class="post"{{end}}>{{if .Post}}POST{{else}}Show{{end}}</button>
</form>{{end}}
</li>
{{end}}</ul>
</section>
{{end}}</body>
</html>
`
