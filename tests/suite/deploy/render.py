"""Lints and renders the chart with the values of standard input, and validates the objects. Prints JSON."""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml

CHART, MANIFEST = "deploy/helm", "deploy/kubernetes.yaml"
# The oldest version that Chart.yaml allows, and the newest known one.
VERSIONS = ["1.25.0", "1.37.0"]


def invalid(kubernetes_object):
    """Returns what the schemas of Kubernetes do not allow."""
    if kubernetes_object["apiVersion"].startswith("monitoring.coreos.com/"):
        return  # A custom resource, which has no schema there.
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(kubernetes_object, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{kubernetes_object['kind']} in {version}: {error.message}"


values = json.load(sys.stdin)
try:
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(values, name="proconf-app-server", namespace="default")
except helm.HelmError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
templates = [text for name, text in sorted(rendered.items()) if name.endswith(".yaml")]
objects = [item for text in templates for item in yaml.safe_load_all(text) if item]
manifest = list(yaml.safe_load_all(open(MANIFEST)))
print(json.dumps({
    "lint": [message for message in helm.lint(CHART, values, strict=True)["messages"] if message["severity"] > 1],
    "objects": objects,
    "manifest": manifest,
    "invalid": [problem for item in objects + manifest for problem in invalid(item)],
}))
