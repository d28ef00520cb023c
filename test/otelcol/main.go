// A real OpenTelemetry collector, the smallest there is: takes OTLP, writes what it took to standard output.
package main

import (
	"context"
	"encoding/json"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
)

// Writes what it is given to standard output, one OTLP JSON document a line.
type lines struct{ mutex sync.Mutex }

func (*lines) Start(context.Context, component.Host) error { return nil }
func (*lines) Shutdown(context.Context) error              { return nil }
func (*lines) Capabilities() consumer.Capabilities         { return consumer.Capabilities{} }
func (l *lines) ConsumeTraces(_ context.Context, traces ptrace.Traces) error {
	text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
	if err != nil {
		return err
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	_, err = os.Stdout.Write(append(text, '\n'))
	return err
}

type none struct{}

func main() {
	kind := component.MustNewType("lines")
	factory := exporter.NewFactory(kind, func() component.Config { return &none{} },
		exporter.WithTraces(func(context.Context, exporter.Settings, component.Config) (exporter.Traces, error) {
			return &lines{}, nil
		}, component.StabilityLevelDevelopment))
	otlp := otlpreceiver.NewFactory()
	settings := otelcol.CollectorSettings{
		BuildInfo: component.NewDefaultBuildInfo(),
		Factories: func() (otelcol.Factories, error) {
			return otelcol.Factories{
				Receivers: map[component.Type]receiver.Factory{otlp.Type(): otlp},
				Exporters: map[component.Type]exporter.Factory{kind: factory},
			}, nil
		},
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs:              []string{"file:" + os.Args[1]},
			ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
		}},
	}
	collector, err := otelcol.NewCollector(settings)
	if err == nil {
		err = collector.Run(context.Background())
	}
	if err != nil {
		json.NewEncoder(os.Stderr).Encode(err.Error())
		os.Exit(1)
	}
}
