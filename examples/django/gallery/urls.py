from django.contrib import admin
from django.urls import path

from gallery import views

urlpatterns = [
    path("", views.gallery, name="gallery"),
    path("<int:key>/delete", views.delete, name="delete"),
    path("admin/", admin.site.urls),
]
