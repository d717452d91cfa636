from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from sorl.thumbnail import delete as delete_with_thumbnails

from gallery.models import Picture


class UploadForm(ModelForm):
    class Meta:
        model = Picture
        fields = ("title", "image")


def gallery(request: HttpRequest) -> HttpResponse:
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("gallery")
    return render(request, "gallery/index.html", {"form": form, "pictures": Picture.objects.all()})


@require_POST
def delete(request: HttpRequest, key: int) -> HttpResponse:
    picture = get_object_or_404(Picture, pk=key)
    delete_with_thumbnails(picture.image)
    picture.delete()
    return redirect("gallery")
