package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
)

// discovered is what generic programs rest on: they know no types and learn all from the cluster.
func discovered(ctx context.Context, s *stage) {
	groups, resources, err := s.client.Discovery().ServerGroupsAndResources()
	must(err)
	assert(len(groups) > 10 && len(resources) > 10, "%d groups, %d versions", len(groups), len(resources))
	preferred := got(s.client.Discovery().ServerPreferredNamespacedResources())
	assert(len(preferred) > 5, "%d preferred", len(preferred))

	cached := memory.NewMemCacheClient(s.client.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	short := restmapper.NewShortcutExpander(mapper, cached, func(warning string) { fail("%s", warning) })
	deployments := got(short.ResourceFor(schema.GroupVersionResource{Resource: "deploy"}))
	assert(deployments.Group == "apps" && deployments.Version == "v1", "deploy is %v", deployments)
	mapping := got(mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"}))
	assert(mapping.Scope.Name() == meta.RESTScopeNameNamespace, "scope %v", mapping.Scope)
	_, err = mapper.RESTMapping(schema.GroupKind{Group: "client-go.kontiki.local", Kind: "Boat"})
	assert(meta.IsNoMatchError(err), "an unknown kind: %v", err)

	root := openapi3.NewRoot(s.client.Discovery().OpenAPIV3())
	document := got(root.GVSpec(schema.GroupVersion{Group: "apps", Version: "v1"}))
	assert(document.Components.Schemas["io.k8s.api.apps.v1.Deployment"] != nil, "no schema of Deployments")

	untyped(ctx, s, mapping.Resource)
	scaled(ctx, s, mapper)
	metadataOnly(ctx, s)
	boats(ctx, s, mapper)
}

// object reads a manifest in JSON.
func object(manifest string, values ...any) *unstructured.Unstructured {
	var made unstructured.Unstructured
	must(made.UnmarshalJSON(fmt.Appendf(nil, manifest, values...)))
	return &made
}

func untyped(ctx context.Context, s *stage, resource schema.GroupVersionResource) {
	all := dynamic.NewForConfigOrDie(s.config).Resource(resource).Namespace(s.namespace)
	content := got(runtime.DefaultUnstructuredConverter.ToUnstructured(web("untyped", 0)))
	wanted := &unstructured.Unstructured{Object: content}
	wanted.SetAPIVersion("apps/v1")
	wanted.SetKind("Deployment")
	made := got(all.Create(ctx, wanted, metav1.CreateOptions{}))
	patch := []byte(`{"metadata":{"labels":{"more":"yes"}}}`)
	got(all.Patch(ctx, "untyped", types.MergePatchType, patch, metav1.PatchOptions{}))
	listed := got(all.List(ctx, metav1.ListOptions{LabelSelector: "more=yes"}))
	assert(len(listed.Items) == 1 && listed.Items[0].GetUID() == made.GetUID(), "listed: %v", listed.Items)
	applied := object(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"untyped","annotations":{"by":"apply"}}}`)
	result := got(all.Apply(ctx, "untyped", applied, metav1.ApplyOptions{FieldManager: "driver"}))
	assert(result.GetAnnotations()["by"] == "apply", "applied: %v", result)
}

// scaled scales whatever has the subresource, as autoscalers do.
func scaled(ctx context.Context, s *stage, mapper meta.RESTMapper) {
	kinds := scale.NewDiscoveryScaleKindResolver(s.client.Discovery())
	scales := got(scale.NewForConfig(s.config, mapper, dynamic.LegacyAPIPathResolverFunc, kinds)).Scales(s.namespace)
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	current := got(scales.Get(ctx, deployments, "untyped", metav1.GetOptions{}))
	current.Spec.Replicas = 2
	changed := got(scales.Update(ctx, deployments, current, metav1.UpdateOptions{}))
	assert(changed.Spec.Replicas == 2, "scaled: %v", changed)
}

// metadataOnly is what garbage collectors and quota controllers read.
func metadataOnly(ctx context.Context, s *stage) {
	all := metadata.NewForConfigOrDie(s.config).Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(s.namespace)
	listed := got(all.List(ctx, metav1.ListOptions{}))
	assert(len(listed.Items) == 1 && listed.Items[0].Name == "untyped", "metadata of: %v", listed.Items)
	one := got(all.Get(ctx, "untyped", metav1.GetOptions{}))
	assert(one.UID == listed.Items[0].UID && one.Labels["more"] == "yes", "metadata: %v", one)
	must(all.Delete(ctx, "untyped", metav1.DeleteOptions{}))
}

// boats are of a kind that is defined here, and seen by a dynamic informer.
func boats(ctx context.Context, s *stage, mapper *restmapper.DeferredDiscoveryRESTMapper) {
	definitions := apiextensionsclient.NewForConfigOrDie(s.config).ApiextensionsV1().CustomResourceDefinitions()
	validation := apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{
		"spec": {Type: "object", Required: []string{"sail"}, Properties: map[string]apiextensions.JSONSchemaProps{"sail": {Type: "string"}}},
	}}
	definition := apiextensions.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "boats.client-go.kontiki.local"},
		Spec: apiextensions.CustomResourceDefinitionSpec{
			Group: "client-go.kontiki.local",
			Names: apiextensions.CustomResourceDefinitionNames{Plural: "boats", Singular: "boat", Kind: "Boat", ListKind: "BoatList"},
			Scope: apiextensions.NamespaceScoped,
			Versions: []apiextensions.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensions.CustomResourceValidation{OpenAPIV3Schema: &validation},
			}},
		},
	}
	got(definitions.Create(ctx, &definition, metav1.CreateOptions{}))
	eventually(ctx, "boats are established", func() error {
		read := got(definitions.Get(ctx, definition.Name, metav1.GetOptions{}))
		for _, condition := range read.Status.Conditions {
			if condition.Type == apiextensions.Established && condition.Status == apiextensions.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%v", read.Status.Conditions)
	})
	mapper.Reset()
	mapping := got(mapper.RESTMapping(schema.GroupKind{Group: "client-go.kontiki.local", Kind: "Boat"}))

	client := dynamic.NewForConfigOrDie(s.config)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, s.namespace, nil)
	var added, updated, deleted atomic.Int32
	boats := factory.ForResource(mapping.Resource)
	got(boats.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { added.Add(1) },
		UpdateFunc: func(any, any) { updated.Add(1) },
		DeleteFunc: func(any) { deleted.Add(1) },
	}))
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	all := client.Resource(mapping.Resource).Namespace(s.namespace)
	boat := `{"apiVersion":"client-go.kontiki.local/v1","kind":"Boat","metadata":{"name":"%s"},"spec":{%s}}`
	got(all.Create(ctx, object(boat, "balsa", `"sail":"square"`), metav1.CreateOptions{}))
	_, err := all.Create(ctx, object(boat, "none", ""), metav1.CreateOptions{})
	refused(metav1.StatusReasonInvalid, err)
	assert(strings.Contains(err.Error(), "spec.sail"), "the error names the field: %v", err)
	got(all.Patch(ctx, "balsa", types.MergePatchType, []byte(`{"spec":{"sail":"gaff"}}`), metav1.PatchOptions{}))
	eventually(ctx, "the informer has the boat with its new sail", func() error {
		found, err := boats.Lister().ByNamespace(s.namespace).Get("balsa")
		if err != nil {
			return err
		}
		sail, _, _ := unstructured.NestedString(found.(*unstructured.Unstructured).Object, "spec", "sail")
		if sail != "gaff" || added.Load() != 1 || updated.Load() != 1 {
			return fmt.Errorf("sail %s, %d added, %d updated", sail, added.Load(), updated.Load())
		}
		return nil
	})
	must(definitions.Delete(ctx, definition.Name, metav1.DeleteOptions{}))
	eventually(ctx, "the boats are gone with their definition", func() error {
		if deleted.Load() != 1 {
			return fmt.Errorf("%d deleted", deleted.Load())
		}
		return nil
	})
}
